//! Sending letters back: into the main queue first, out of the dead-letter queue after. Whatever is
//! killed in between leaves a letter in both, and the pipeline absorbs the second copy; nothing is ever
//! in neither.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::{
    MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
    SendMessageBatchRequestEntry as Entry,
};
use futures::StreamExt;
use indicatif::ProgressBar;
use payments_table::PaymentsTable;
use serde::Serialize;
use serde_json::json;

use crate::audit::Audit;
use crate::filter::Filter;
use crate::follow::{self, FOLLOW_MAX, Followed};
use crate::hold::{Holder, LOST};
use crate::letter::Letter;
use crate::queue::{BATCH_MAX, Error, LANES, code_of};
use crate::terminal::{note, print, progress, span};
use crate::{Desk, Ending, Selection};

/// Bytes of one batch call, attributes included (SQS's quota when the queues' limit was chosen).
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// Calls that fail one after the other before the rest is left where it is.
const FAILURES_MAX: u32 = 3;

/// Failures that are named on the terminal; the audit log names all.
const NAMED_MAX: usize = 20;

/// How letters are to be sent back.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// Messages per second at the most.
    pub rate: Option<NonZeroU32>,
    /// Whether to do it; without, it is only said what would be done.
    pub yes: bool,
    /// Whether to follow the letters to their outcome.
    pub follow: bool,
}

/// A letter with which something went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// The letter.
    pub message_id: String,
    /// What went wrong.
    pub why: String,
}

/// What came of sending.
#[derive(Debug, Default)]
struct Sent {
    /// In the main queue.
    sent: Vec<Letter>,
    /// Not sent, or sent and still in the dead-letter queue as well.
    failed: Vec<Failed>,
    /// Not touched, because it was stopped before.
    left: usize,
}

/// Sends letters back to the main queue.
///
/// # Errors
/// The queue gives no answer, or the audit log cannot be written.
pub async fn redrive(desk: &Desk, filter: &Filter, how: How) -> Result<Ending, Error> {
    let tables = desk.place.tables.as_ref().filter(|_| how.follow);
    if how.yes && how.follow && tables.is_none() {
        let text = "to follow the messages, give --payments-table and --refusals-table; or give \
                    --no-follow";
        return Err(Error::Configuration(text.to_owned()));
    }
    let holder = desk.holder();
    let selection = desk.select(&holder, filter, how.yes).await?;
    let count = selection.letters.len();
    if !how.yes || count == 0 || desk.interrupt.is_set() {
        holder.release_all().await;
        print(&plan(&selection.letters, selection.others, how.rate));
        let is_done = !desk.interrupt.is_set() && (!how.yes || selection.is_all);
        return Ok(if is_done { Ending::Done } else { Ending::Unfinished });
    }
    let ids: Vec<&str> = selection.letters.iter().map(|letter| &*letter.message_id).collect();
    let about = json!({
        "who": desk.place.who().await,
        "from": desk.place.dead_letter_queue_url,
        "to": desk.place.queue_url,
        "filter": filter,
        "rate": how.rate,
        "messageIds": ids,
        "revealed": false,
    });
    let audit = match Audit::begin(&desk.place.audit_log, "redrive", &about) {
        Ok(audit) => audit,
        Err(error) => {
            holder.release_all().await;
            return Err(error);
        }
    };
    let done = carry_out(desk, &holder, &audit, selection, how, tables).await;
    Ok(Ending::after_changes(done))
}

async fn carry_out(
    desk: &Desk,
    holder: &Holder,
    audit: &Audit,
    selection: Selection,
    how: How,
    tables: Option<&PaymentsTable>,
) -> Result<Ending, Error> {
    let (started, count) = (Instant::now(), selection.letters.len());
    let Sent { sent, failed, left } =
        send_all(desk, holder, audit, selection.letters, how.rate).await;
    holder.release_all().await;
    audit.end(&json!({ "sent": sent.len(), "failed": failed, "left": left }))?;
    let seconds = span(started.elapsed());
    print(&format!("{} of {count} messages sent back in {seconds}.\n", sent.len()));
    print_failed(&failed);
    if left > 0 {
        note(&format!("{left} are left as they were: run the same command again"));
    }
    let mut is_done = failed.is_empty() && left == 0 && selection.is_all;
    if let Some(tables) = tables {
        let total = sent.len();
        let followed = follow::follow(desk, tables, sent).await?;
        print(&outcomes(&followed, total));
        is_done &= followed.back.is_empty();
    }
    Ok(if is_done { Ending::Done } else { Ending::Unfinished })
}

/// What would be done.
fn plan(letters: &[Letter], others: usize, rate: Option<NonZeroU32>) -> String {
    let count = letters.len();
    if count == 0 {
        return format!("No dead letter matches; {others} others stay.\n");
    }
    let rate = rate
        .map_or("as fast as the queue takes them".to_owned(), |rate| format!("at {rate} a second"));
    format!(
        "Would send {count} messages back to the main queue, {rate}: {}. {others} others stay.\nThis \
         was a dry run; --yes does it.\n",
        reasons(letters)
    )
}

/// How many letters died of what: `3 throttled, 1 unknown`.
pub(crate) fn reasons(letters: &[Letter]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for letter in letters {
        *counts.entry(letter.reason()).or_default() += 1;
    }
    let counts = counts.iter().map(|(reason, count)| format!("{count} {reason}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// Names what went wrong.
pub(crate) fn print_failed(failed: &[Failed]) {
    for Failed { message_id, why } in failed.iter().take(NAMED_MAX) {
        note(&format!("failed: {message_id}: {why}"));
    }
    if let Some(more) = failed.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        note(&format!("failed: {more} more; the audit log names them"));
    }
}

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
        text += &format!("  back: {message_id}: {reason}\n");
    }
    if back.len() > NAMED_MAX {
        text += &format!("  back: {} more; see dlq list\n", back.len() - NAMED_MAX);
    }
    if let Some(failure) = failure {
        text += &format!("  the tables could not be asked about some: {failure}\n");
    }
    for request in open.iter().take(NAMED_MAX) {
        text += &format!("  unknown yet: request {request}\n");
    }
    if !open.is_empty() {
        text += &format!(
            "  Messages are followed for {} at the most. What is unknown yet waits in the main queue \
             or for a retry, which takes up to half an hour; if it dies again, dlq summary shows it.\n",
            span(FOLLOW_MAX)
        );
    }
    text
}

async fn send_all(
    desk: &Desk,
    holder: &Holder,
    audit: &Audit,
    letters: Vec<Letter>,
    rate: Option<NonZeroU32>,
) -> Sent {
    let bar = progress("sending back", u64::try_from(letters.len()).unwrap_or_default());
    let sender = Sender {
        desk,
        holder,
        audit,
        bar: &bar,
        pace: Pace::new(rate),
        failures: AtomicU32::new(0),
    };
    let sizes = rate.map_or(BATCH_MAX, |rate| BATCH_MAX.min(rate.get() as usize));
    let batches = batches(letters, sizes).into_iter().map(|batch| sender.send(batch));
    let mut all = Sent::default();
    let mut results = futures::stream::iter(batches).buffer_unordered(LANES);
    while let Some(sent) = results.next().await {
        all.sent.extend(sent.sent);
        all.failed.extend(sent.failed);
        all.left += sent.left;
    }
    bar.finish_and_clear();
    all
}

/// Divides letters into batches that one call can send.
fn batches(letters: Vec<Letter>, count_max: usize) -> Vec<Vec<Letter>> {
    let mut batches: Vec<Vec<Letter>> = Vec::new();
    let mut bytes = 0;
    for letter in letters {
        let more = bytes_of(&letter);
        match batches.last_mut() {
            Some(batch) if batch.len() < count_max && bytes + more <= BATCH_BYTES_MAX => {
                batch.push(letter);
                bytes += more;
            }
            Some(_) | None => {
                batches.push(vec![letter]);
                bytes = more;
            }
        }
    }
    batches
}

/// Bytes of a letter when it is sent, as SQS counts them.
fn bytes_of(letter: &Letter) -> usize {
    let attributes = letter.redriven();
    let attributes = attributes.iter().map(|(name, value)| {
        let bytes = value.binary_value().map_or(0, |bytes| bytes.as_ref().len());
        name.len() + value.data_type().len() + value.string_value().map_or(0, str::len) + bytes
    });
    letter.body.len() + attributes.sum::<usize>()
}

/// When the next messages may be sent.
struct Pace {
    per_message: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    fn new(rate: Option<NonZeroU32>) -> Pace {
        let per_message = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get());
        Pace { per_message, next: Mutex::new(Instant::now()) }
    }

    /// How long to wait before so many messages may be sent.
    fn take(&self, count: u32) -> Duration {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let start = (*next).max(Instant::now());
        *next = start + self.per_message * count;
        start.saturating_duration_since(Instant::now())
    }
}

struct Sender<'a> {
    desk: &'a Desk,
    holder: &'a Holder,
    audit: &'a Audit,
    bar: &'a ProgressBar,
    pace: Pace,
    /// Failures since the last success.
    failures: AtomicU32,
}

impl Sender<'_> {
    async fn send(&self, batch: Vec<Letter>) -> Sent {
        let count = batch.len();
        let is_halted = || {
            let failures = self.failures.load(Ordering::Relaxed);
            self.desk.interrupt.is_set() || failures >= FAILURES_MAX
        };
        if !is_halted() {
            let wait = self.pace.take(u32::try_from(count).unwrap_or(u32::MAX));
            follow::rest(wait, &self.desk.interrupt).await;
        }
        if is_halted() {
            return Sent { left: count, ..Sent::default() };
        }
        let (held, lost): (Vec<Letter>, Vec<Letter>) =
            batch.into_iter().partition(|letter| self.holder.holds(&letter.message_id));
        let mut outcome = Sent::default();
        for letter in lost {
            outcome.fail(&letter, LOST.to_owned());
        }
        if !held.is_empty() {
            self.send_then_delete(held, &mut outcome).await;
        }
        self.bar.inc(count as u64);
        outcome
    }

    async fn send_then_delete(&self, letters: Vec<Letter>, outcome: &mut Sent) {
        let entries: Vec<Entry> = letters.iter().enumerate().map(entry).collect();
        let request = self.desk.place.sqs.send_message_batch();
        let request = request.queue_url(&self.desk.place.queue_url).set_entries(Some(entries));
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                let code = code_of(&error);
                for letter in &letters {
                    outcome.fail(letter, format!("not sent ({code})"));
                }
                return;
            }
        };
        self.failures.store(0, Ordering::Relaxed);
        let mut new_ids: BTreeMap<usize, &str> = BTreeMap::new();
        for entry in &answer.successful {
            if let Ok(index) = entry.id.parse() {
                new_ids.insert(index, &entry.message_id);
            }
        }
        for entry in &answer.failed {
            let letter = entry.id.parse().ok().and_then(|index: usize| letters.get(index));
            if let Some(letter) = letter {
                outcome.fail(letter, format!("not sent ({})", entry.code));
            }
        }
        let ids: Vec<&str> = new_ids
            .keys()
            .filter_map(|index| letters.get(*index))
            .map(|letter| letter.message_id.as_str())
            .collect();
        let deleted = if ids.is_empty() { Vec::new() } else { self.holder.delete(&ids).await };
        let pairs: Vec<(&str, &str)> = ids.iter().copied().zip(new_ids.values().copied()).collect();
        if let Err(error) = self.audit.step(&json!({ "sent": pairs })) {
            // What cannot be recorded is not gone on with.
            note(&format!("error: {error}"));
            self.desk.interrupt.set();
        }
        for (id, result) in ids.iter().zip(deleted) {
            if let Err(code) = result {
                let why = format!(
                    "sent, but still among the dead letters, too ({code}); sending it once more does \
                     no harm"
                );
                outcome.failed.push(Failed { message_id: (*id).to_owned(), why });
            }
        }
        let is_sent = |index: &usize| new_ids.contains_key(index);
        let sent = letters.iter().enumerate().filter(|(index, _)| is_sent(index));
        outcome.sent.extend(sent.map(|(_, letter)| letter.clone()));
    }
}

impl Sent {
    fn fail(&mut self, letter: &Letter, why: String) {
        self.failed.push(Failed { message_id: letter.message_id.clone(), why });
    }
}

fn entry((index, letter): (usize, &Letter)) -> Entry {
    let mut entry = Entry::builder()
        .id(index.to_string())
        .message_body(&letter.body)
        .set_message_group_id(letter.message_group.clone())
        .set_message_attributes(Some(letter.redriven()));
    if let Some(trace) = &letter.trace_header {
        let value = MessageSystemAttributeValue::builder().data_type("String").string_value(trace);
        let value = value.build().expect("the data type is given");
        let name = MessageSystemAttributeNameForSends::AwsTraceHeader;
        entry = entry.message_system_attributes(name, value);
    }
    entry.build().expect("id and body are given")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letter::tests::letter;

    #[test]
    fn a_batch_keeps_both_bounds_and_every_letter_its_place() {
        let letters = |sizes: &[usize]| {
            let body = |size: &usize| letter("m", &"x".repeat(*size), &[], false);
            sizes.iter().map(body).collect::<Vec<_>>()
        };
        let counts = |sizes: &[usize], max| {
            batches(letters(sizes), max).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(counts(&[1; 23], 10), [10, 10, 3]);
        assert_eq!(counts(&[1; 3], 1), [1, 1, 1]);
        assert_eq!(counts(&[100_000; 5], 10), [2, 2, 1]);
        assert_eq!(counts(&[300_000, 1], 10), [1, 1]);
        assert_eq!(counts(&[], 10), [0; 0]);
    }

    #[test]
    fn a_letter_goes_back_into_its_group() {
        let entry = entry((0, &letter("m", "{}", &[], false)));
        assert_eq!(entry.message_group_id(), Some("group"));
    }

    #[test]
    fn the_pace_leaves_room_between_batches() {
        let pace = Pace::new(NonZeroU32::new(10));
        assert_eq!(pace.take(10), Duration::ZERO);
        let second = pace.take(10);
        assert!(second > Duration::from_millis(500) && second <= Duration::from_secs(1));
        assert!(pace.take(1) > Duration::from_millis(1_500));
        assert_eq!(Pace::new(None).take(10), Duration::ZERO);
    }
}
