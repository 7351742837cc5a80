//! `redrive --native`: SQS's own move task sends everything back. It cannot filter, names no message and
//! counts no re-drive. In return it goes on by itself if this process ends.

use std::num::NonZeroU32;
use std::time::Duration;

use aws_sdk_sqs::types::ListMessageMoveTasksResultEntry as Task;
use serde_json::json;

use crate::audit::Audit;
use crate::dlq::desk::Desk;
use crate::dlq::letter::Letter;
use crate::error::{Ending, Error};
use crate::queue::{Depth, depth};
use crate::terminal::{note, print, progress};

/// How often the task is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Messages per second of a move task (SQS's quota).
const RATE_MAX: u32 = 500;

/// What an operator must know before choosing it.
const CANNOT: &str = "SQS's own move task takes everything that is there: it cannot filter, names no \
    message in the audit log, counts no re-drive, and gives what the queue moved here itself a new id \
    without noting the first one. It is not followed to its outcome.";

/// Starts a move task and shows its progress. Ctrl-C cancels the task; what it has moved stays moved.
///
/// # Errors
/// There are letters that did not come through the gateway, or the queue refuses the task or does not answer.
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

/// How many letters did not come through the gateway.
async fn unverified(desk: &Desk) -> Result<usize, Error> {
    let scan = desk.look(None).await?;
    let count = |letters: &[Letter]| letters.iter().filter(|letter| letter.is_unverified()).count();
    Ok(scan.map_or(0, |scan| count(&scan.letters)))
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
        // After Ctrl-C this does not pause, and the cancelled task ends at once.
        desk.interrupt.pause(LOOK_EVERY).await;
    };
    bar.finish_and_clear();
    let status = ended.status().unwrap_or("UNKNOWN");
    audit.end(&json!({ "status": status, "moved": moved(&ended) }))?;
    print(&format!("{} messages moved: {status}.\n", moved(&ended)));
    if let Some(reason) = ended.failure_reason() {
        note(&format!("error: the move task failed: {reason}; run it again"));
    }
    Ok(Ending::of(status == "COMPLETED"))
}

/// The move task that was started last.
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
