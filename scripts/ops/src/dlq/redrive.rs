//! `redrive`: sending letters back to the main queue. The first ones are sent and followed before the others.
//! If all of them die again, the cause is not mended, and the others stay where they are.

use std::num::NonZeroU32;
use std::time::Instant;

use clap::Args;
use function::dead_letter::DeadReason;
use serde_json::json;
use tables::PaymentsTable;

use crate::audit::Audit;
use crate::dlq::desk::Desk;
use crate::dlq::filter::Filter;
use crate::dlq::follow::{FOLLOW_MAX, Followed, Until, follow};
use crate::dlq::letter::{Letter, ids_of};
use crate::dlq::report::{counted, print_failed, reasons};
use crate::dlq::send::{Sender, Sent};
use crate::error::{Ending, Error};
use crate::terminal::{note, print, printable, span};

/// How many letters are sent and followed before the others.
const FIRST: usize = 10;

/// Letters that are named on the terminal.
const NAMED_MAX: usize = 20;

/// How letters are to be sent back.
#[derive(Debug, Clone, Copy, Args)]
pub struct How {
    /// Messages per second at the most [default: as fast as the queue takes them].
    #[arg(long, value_name = "COUNT")]
    pub rate: Option<NonZeroU32>,
    /// Do it.
    #[arg(long)]
    pub yes: bool,
    /// Do not wait for what becomes of the messages.
    #[arg(long)]
    pub no_follow: bool,
    /// Send the others, too, if the first ten all die again.
    #[arg(long)]
    pub keep_going: bool,
    /// Send back what did not come through the gateway; only together with --reason unverified.
    #[arg(long)]
    pub force: bool,
}

impl How {
    /// Makes the filter leave unverified letters out, unless --force asks for them and for no others.
    ///
    /// # Errors
    /// They are asked for without --force, or --force is given for others.
    pub(crate) fn check(&self, filter: &mut Filter) -> Result<(), Error> {
        let unverified = DeadReason::Unverified.name();
        let asks = filter.reason.iter().any(|reason| reason == unverified);
        let refused = |text: &str| Err(Error::Configuration(text.to_owned()));
        if asks && !self.force {
            return refused(
                "unverified messages did not come through the gateway, so nobody has verified whose they \
                 are: discard them with `cargo dlq discard`. --force sends them back all the same",
            );
        }
        if self.force && filter.reason != [unverified] {
            return refused("--force is only for --reason unverified, without any other reason");
        }
        filter.spare_unverified = !self.force;
        Ok(())
    }

    /// The tables by which letters are followed; `None` when they are not to be followed.
    ///
    /// # Errors
    /// They are to be followed, and the tables are not known.
    pub(crate) fn tables<'a>(&self, desk: &'a Desk) -> Result<Option<&'a PaymentsTable>, Error> {
        if self.no_follow {
            Ok(None)
        } else if self.yes {
            let or = |error| Error::Configuration(format!("{error}; or give --no-follow"));
            desk.place.tables_to("follow the messages").map_err(or).map(Some)
        } else {
            Ok(desk.place.tables.as_ref())
        }
    }
}

/// Sends letters back to the main queue.
///
/// # Errors
/// The flags contradict each other, the queue does not answer, or the audit log cannot be written.
pub async fn redrive(desk: &Desk, mut filter: Filter, how: How) -> Result<Ending, Error> {
    how.check(&mut filter)?;
    let tables = how.tables(desk)?;
    let holder = desk.holder();
    let selection = desk.select(&holder, &filter, how.yes).await?;
    let count = selection.letters.len();
    if !how.yes || count == 0 || desk.interrupt.is_set() {
        holder.release_all().await;
        let others = format!("{} others stay", selection.others);
        print(&plan(&selection.letters, &others, how.rate));
        let is_done = !desk.interrupt.is_set() && (!how.yes || selection.is_all);
        return Ok(Ending::of(is_done));
    }
    let about = json!({
        "who": desk.place.who().await,
        "from": desk.place.dead_letter_queue_url,
        "to": desk.place.queue_url,
        "filter": filter,
        "rate": how.rate,
        "messageIds": ids_of(&selection.letters),
        "revealed": false,
    });
    let audit = match Audit::begin(&desk.place.audit_log, "redrive", &about) {
        Ok(audit) => audit,
        Err(error) => {
            holder.release_all().await;
            return Err(error);
        }
    };
    let sender = Sender { desk, audit: &audit, holder: Some(&holder), rate: how.rate };
    let done = carry_out(&sender, selection.letters, how, tables).await;
    holder.release_all().await;
    let done = done.map(|ending| if selection.is_all { ending } else { Ending::Unfinished });
    Ok(Ending::after_changes(done))
}

/// Sends letters and follows them, the first ones before the others are sent.
pub(crate) async fn carry_out(
    sender: &Sender<'_>,
    mut letters: Vec<Letter>,
    how: How,
    tables: Option<&PaymentsTable>,
) -> Result<Ending, Error> {
    let (started, count) = (Instant::now(), letters.len());
    let (mut all, mut followed) = (Sent::default(), Followed::default());
    let mut stopped = None;
    if let Some(tables) = tables.filter(|_| !how.keep_going && count > FIRST) {
        let others = letters.split_off(FIRST);
        all = sender.send(letters).await;
        followed.open = all.sent.clone();
        let looked = follow(sender.desk, tables, &mut followed, Until::Alive).await;
        letters = others;
        stopped = match looked {
            _ if sender.desk.interrupt.is_set() => None,
            Ok(()) => why_stop(&followed),
            Err(error) => Some(format!("the first {FIRST} cannot be followed: {error}")),
        };
    }
    match &stopped {
        Some(_) => all.left += letters.len(),
        None => {
            let sent = sender.send(letters).await;
            followed.open.extend(sent.sent.iter().cloned());
            all.add(sent);
        }
    }
    if let Some(holder) = sender.holder {
        holder.release_all().await;
    }
    let Sent { sent, failed, left } = all;
    let result = json!({ "sent": sent.len(), "failed": failed, "left": left, "stopped": stopped });
    sender.audit.end(&result)?;
    print(&format!(
        "{} of {count} messages sent back in {}.\n",
        sent.len(),
        span(started.elapsed())
    ));
    print_failed(&failed);
    if let Some(why) = &stopped {
        note(&format!(
            "stopped: {why} {left} are left as they were; --keep-going sends them as well"
        ));
    } else if left > 0 {
        note(&format!("{left} are left as they were: run the same command again"));
    }
    let mut is_done = failed.is_empty() && left == 0;
    if let Some(tables) = tables {
        if stopped.is_none() {
            follow(sender.desk, tables, &mut followed, Until::All).await?;
        }
        print(&outcomes(&followed, sent.len()));
        is_done &= followed.back.is_empty();
    }
    Ok(Ending::of(is_done))
}

/// Why the others must not be sent after the first ones; `None` when they may.
fn why_stop(followed: &Followed) -> Option<String> {
    let Followed { back, open, .. } = followed;
    if followed.is_alive() || (back.is_empty() && open.is_empty()) {
        return None;
    }
    if back.is_empty() {
        let waited = span(FOLLOW_MAX);
        return Some(format!(
            "none of the first {FIRST} has an outcome after {waited}: they wait in the main queue or \
             for another try"
        ));
    }
    let reasons = counted(back.iter().map(|(_, reason)| reason.as_str()));
    let still = if open.is_empty() { "" } else { ", and the others have no outcome yet" };
    Some(format!("of the first {FIRST} came back dead: {reasons}{still}. Is the cause mended?"))
}

/// What a dry run says.
pub(crate) fn plan(letters: &[Letter], others: &str, rate: Option<NonZeroU32>) -> String {
    let count = letters.len();
    if count == 0 {
        return format!("No dead letter matches; {others}.\n");
    }
    let rate = rate
        .map_or("as fast as the queue takes them".to_owned(), |rate| format!("at {rate} a second"));
    format!(
        "Would send {count} messages back to the main queue, {rate}: {}. {others}.\nThis \
         was a dry run; --yes does it.\n",
        reasons(letters)
    )
}

/// What became of the letters that were sent.
fn outcomes(followed: &Followed, total: usize) -> String {
    let Followed { stored, duplicates, refused, back, open, failure } = followed;
    let refusals: usize = refused.values().sum();
    let mut text = format!(
        "{total} = stored {stored} + duplicates {duplicates} + refused {refusals} + back in the \
         dead-letter queue {} + unknown yet {}\n",
        back.len(),
        open.len()
    );
    for (reason, count) in refused {
        text += &format!("  refused, {reason}: {count}\n");
    }
    for (message_id, reason) in back.iter().take(NAMED_MAX) {
        text += &format!("  back: {message_id}: {}\n", printable(reason));
    }
    if back.len() > NAMED_MAX {
        text += &format!("  back: {} more; see cargo dlq list\n", back.len() - NAMED_MAX);
    }
    if let Some(failure) = failure {
        text += &format!("  the tables could not be asked about some: {failure}\n");
    }
    for letter in open.iter().take(NAMED_MAX) {
        text += &format!("  unknown yet: request {}\n", printable(letter.request_id()));
    }
    if !open.is_empty() {
        text += &format!(
            "  Messages are followed for {} at the most. What is unknown yet waits in the main queue \
             or for a retry, which takes up to half an hour; if it dies again, cargo dlq summary shows it.\n",
            span(FOLLOW_MAX)
        );
    }
    text
}
