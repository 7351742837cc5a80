//! Sending everything back by the queue's own move task: no filter, no ids, no re-drive count, but the
//! queue goes on by itself, whatever becomes of this process.

use std::num::NonZeroU32;
use std::time::Duration;

use aws_sdk_sqs::types::ListMessageMoveTasksResultEntry as Task;
use serde_json::json;

use crate::audit::Audit;
use crate::follow::rest;
use crate::letter::Letter;
use crate::queue::{Depth, Error, depth};
use crate::terminal::{note, print, progress};
use crate::{Desk, Ending};

/// How often the task is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Messages per second of a move task (SQS's quota).
const RATE_MAX: u32 = 500;

const CANNOT: &str = "SQS's own move task takes everything that is there: it cannot filter, names no \
    message in the audit log, counts no re-drive, and gives what the queue moved here itself a new id \
    without noting the first one. It is not followed to its outcome.";

/// Starts a move task and shows its progress. Ctrl-C cancels it: what is moved is moved.
///
/// # Errors
/// The queue refuses it, or gives no answer.
pub async fn native(desk: &Desk, rate: Option<NonZeroU32>, yes: bool) -> Result<Ending, Error> {
    if rate.is_some_and(|rate| rate.get() > RATE_MAX) {
        let text = format!("a move task takes a --rate of {RATE_MAX} a second at the most");
        return Err(Error::Configuration(text));
    }
    let sqs = &desk.place.sqs;
    let from = depth(sqs, &desk.place.dead_letter_queue_url).await?;
    let to = depth(sqs, &desk.place.queue_url).await?;
    let unverified = unverified(desk).await?;
    if unverified > 0 {
        return Err(Error::Configuration(format!(
            "{unverified} messages did not come through the gateway, and the move task would take them as \
             well: discard them first, or send the others back without --native"
        )));
    }
    if !yes {
        print(&format!(
            "Would move about {} messages back to the main queue. {CANNOT}\nThis was a dry run; --yes \
             does it.\n",
            from.visible
        ));
        return Ok(Ending::Done);
    }
    note(CANNOT);
    let about = json!({
        "who": desk.place.who().await,
        "from": desk.place.dead_letter_queue_url,
        "to": desk.place.queue_url,
        "filter": {},
        "rate": rate,
        "messageIds": null,
        "revealed": false,
    });
    let audit = Audit::begin(&desk.place.audit_log, "redrive --native", &about)?;
    let start = sqs.start_message_move_task().source_arn(&from.arn).destination_arn(&to.arn);
    let rate = rate.and_then(|rate| i32::try_from(rate.get()).ok());
    let started = start.set_max_number_of_messages_per_second(rate).send().await;
    let started = started.map_err(|error| Error::call("start the move task", &error))?;
    let handle = started.task_handle.unwrap_or_default();
    Ok(Ending::after_changes(watch(desk, &audit, &from, &handle).await))
}

/// How many letters nobody vouches for.
async fn unverified(desk: &Desk) -> Result<usize, Error> {
    let is_one = |letter: &Letter| letter.is_unverified();
    let scan = desk.look(None).await?;
    Ok(scan.map_or(0, |scan| scan.letters.iter().filter(|letter| is_one(letter)).count()))
}

/// Shows how the task gets on until it ends.
async fn watch(desk: &Desk, audit: &Audit, from: &Depth, handle: &str) -> Result<Ending, Error> {
    let sqs = &desk.place.sqs;
    let bar = progress("moving", from.visible);
    let mut is_cancelled = false;
    let ended = loop {
        if desk.interrupt.is_set() && !is_cancelled {
            is_cancelled = true;
            let cancel = sqs.cancel_message_move_task().task_handle(handle).send().await;
            cancel.map_err(|error| Error::call("cancel the move task", &error))?;
        }
        let task = latest(desk, &from.arn).await?;
        bar.set_position(u64::try_from(moved(&task)).unwrap_or_default());
        match task.status() {
            Some("RUNNING" | "CANCELLING") => {}
            Some(_) | None => break task,
        }
        // After Ctrl-C there is no pause, and the task ends at once.
        rest(LOOK_EVERY, &desk.interrupt).await;
    };
    bar.finish_and_clear();
    let status = ended.status().unwrap_or("UNKNOWN");
    audit.end(&json!({ "status": status, "moved": moved(&ended) }))?;
    print(&format!("{} messages moved: {status}.\n", moved(&ended)));
    if let Some(reason) = ended.failure_reason() {
        note(&format!("error: the move task failed: {reason}; run it again"));
    }
    Ok(if status == "COMPLETED" { Ending::Done } else { Ending::Unfinished })
}

async fn latest(desk: &Desk, source_arn: &str) -> Result<Task, Error> {
    let list = desk.place.sqs.list_message_move_tasks().source_arn(source_arn).max_results(1);
    let listed = list.send().await;
    let listed = listed.map_err(|error| Error::call("list the move tasks", &error))?;
    let task = listed.results.unwrap_or_default().into_iter().next();
    Ok(task.unwrap_or_else(|| Task::builder().build()))
}

fn moved(task: &Task) -> i64 {
    task.approximate_number_of_messages_moved()
}
