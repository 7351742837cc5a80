//! Sending letters to the main queue, and deleting them from the dead-letter queue only after that. If this
//! process is killed in between, a letter is in both queues, which does no harm: its payment is stored only
//! once. A letter is never in neither.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::{
    MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
    SendMessageBatchRequestEntry as Entry,
};
use function::queue::code_of;
use futures::StreamExt;
use futures::future::join_all;
use indicatif::ProgressBar;
use serde_json::json;

use crate::audit::Audit;
use crate::dlq::desk::Desk;
use crate::dlq::hold::{Holder, LOST};
use crate::dlq::letter::Letter;
use crate::dlq::report::Failed;
use crate::dlq::standing::Submitted;
use crate::queue::{BATCH_MAX, LANES};
use crate::terminal::{note, progress};

/// Bytes of one batch call, attributes included. SQS allowed no more when the queues were designed.
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// After so many calls that failed one after the other, the rest is left where it is.
const FAILURES_MAX: u32 = 3;

/// What came of sending.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// In the main queue.
    pub(crate) sent: Vec<Letter>,
    /// Not sent, or sent and still in the dead-letter queue as well.
    pub(crate) failed: Vec<Failed>,
    /// How many were not touched, because sending was stopped before.
    pub(crate) left: usize,
}

/// How letters are sent, and where they come from.
pub(crate) struct Sender<'a> {
    pub(crate) desk: &'a Desk,
    pub(crate) audit: &'a Audit,
    /// What holds them in the dead-letter queue; `None` where they come from an archive.
    pub(crate) holder: Option<&'a Holder>,
    /// Messages per second at the most.
    pub(crate) rate: Option<NonZeroU32>,
}

impl Sender<'_> {
    /// Sends letters, and deletes each from the dead-letter queue once it is in the main queue.
    pub(crate) async fn send(&self, letters: Vec<Letter>) -> Sent {
        let bar = progress("sending back", u64::try_from(letters.len()).unwrap_or_default());
        let run = Run {
            sender: self,
            bar: &bar,
            pace: Pace::new(self.rate),
            failures: AtomicU32::new(0),
        };
        let sizes = self.rate.map_or(BATCH_MAX, |rate| BATCH_MAX.min(rate.get() as usize));
        let batches = batches(letters, sizes).into_iter().map(|batch| run.send(batch));
        let mut all = Sent::default();
        let mut results = futures::stream::iter(batches).buffer_unordered(LANES);
        while let Some(sent) = results.next().await {
            all.add(sent);
        }
        bar.finish_and_clear();
        all
    }
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

/// Bytes of a letter as SQS counts them when it is sent.
fn bytes_of(letter: &Letter) -> usize {
    let attributes = letter.redriven();
    let attributes = attributes.iter().map(|(name, value)| {
        let bytes = value.binary_value().map_or(0, |bytes| bytes.as_ref().len());
        name.len() + value.data_type().len() + value.string_value().map_or(0, str::len) + bytes
    });
    letter.body.len() + attributes.sum::<usize>()
}

/// The rate at which messages may be sent.
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

/// The sending of many letters, several batches at once.
struct Run<'a> {
    sender: &'a Sender<'a>,
    bar: &'a ProgressBar,
    pace: Pace,
    /// Calls that failed since the last one that succeeded.
    failures: AtomicU32,
}

impl Run<'_> {
    /// Sends a batch, unless sending is to stop.
    async fn send(&self, batch: Vec<Letter>) -> Sent {
        let count = batch.len();
        let is_halted = || {
            let failures = self.failures.load(Ordering::Relaxed);
            self.sender.desk.interrupt.is_set() || failures >= FAILURES_MAX
        };
        if !is_halted() {
            let wait = self.pace.take(u32::try_from(count).unwrap_or(u32::MAX));
            self.sender.desk.interrupt.pause(wait).await;
        }
        if is_halted() {
            return Sent { left: count, ..Sent::default() };
        }
        let is_held = |letter: &Letter| {
            self.sender.holder.is_none_or(|holder| holder.holds(&letter.message_id))
        };
        let (held, lost): (Vec<Letter>, Vec<Letter>) = batch.into_iter().partition(is_held);
        let mut outcome = Sent::default();
        for letter in lost {
            outcome.fail(&letter, LOST.to_owned());
        }
        let held = self.record_held(held, &mut outcome).await;
        if !held.is_empty() {
            self.send_then_delete(held, &mut outcome).await;
        }
        self.bar.inc(count as u64);
        outcome
    }

    /// Puts on record that letters are held, where the record may be missing or say something else: if they
    /// come from an archive, or if the queue itself moved them. The record also gets a new time. `reconcile`
    /// changes only records that are older than any message in the queues can be, so it leaves this one alone
    /// while the message is under way. Returns the letters that are to be sent.
    async fn record_held(&self, letters: Vec<Letter>, outcome: &mut Sent) -> Vec<Letter> {
        let Some(tables) = &self.sender.desk.place.tables else { return letters };
        let is_restored = self.sender.holder.is_none();
        let record = async |letter: &Letter| match Submitted::by_letter(letter) {
            Some(submitted) if is_restored || letter.moved_by_queue => {
                submitted.record_held(tables, letter.reason()).await
            }
            Some(_) | None => Ok(()),
        };
        let recorded = join_all(letters.iter().map(record)).await;
        let mut to_send = Vec::new();
        for (letter, recorded) in letters.into_iter().zip(recorded) {
            match recorded {
                // Its client may have been told that it is discarded, and must not read that while the
                // payment is processed.
                Err(failure) if is_restored => {
                    outcome.fail(&letter, format!("not sent, the client is not told: {failure}"));
                }
                // Any other letter is sent all the same: what its client reads now is not wrong.
                Ok(()) | Err(_) => to_send.push(letter),
            }
        }
        to_send
    }

    /// Sends up to ten letters in one call, then deletes those that were sent from the dead-letter queue.
    async fn send_then_delete(&self, letters: Vec<Letter>, outcome: &mut Sent) {
        let entries: Vec<Entry> = letters.iter().enumerate().map(entry).collect();
        let request = self.sender.desk.place.sqs.send_message_batch();
        let request =
            request.queue_url(&self.sender.desk.place.queue_url).set_entries(Some(entries));
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
        // The new message id of each letter that was sent, by the letter's index.
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
        let deleted = match self.sender.holder {
            Some(holder) if !ids.is_empty() => holder.delete(&ids).await,
            Some(_) | None => Vec::new(),
        };
        let pairs: Vec<(&str, &str)> = ids.iter().copied().zip(new_ids.values().copied()).collect();
        if let Err(error) = self.sender.audit.step(&json!({ "sent": pairs })) {
            // Nothing more is sent when the audit log cannot be written.
            note(&format!("error: {error}"));
            self.sender.desk.interrupt.set();
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
    pub(crate) fn add(&mut self, more: Sent) {
        self.sent.extend(more.sent);
        self.failed.extend(more.failed);
        self.left += more.left;
    }

    fn fail(&mut self, letter: &Letter, why: String) {
        self.failed.push(Failed { message_id: letter.message_id.clone(), why });
    }
}

fn entry((index, letter): (usize, &Letter)) -> Entry {
    let mut entry = Entry::builder()
        .id(index.to_string())
        .message_body(&letter.body)
        .set_message_attributes(Some(letter.redriven()))
        .set_message_group_id(letter.group.clone());
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
    use crate::dlq::letter::tests::letter;

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
    fn the_pace_leaves_room_between_batches() {
        let pace = Pace::new(NonZeroU32::new(10));
        assert_eq!(pace.take(10), Duration::ZERO);
        let second = pace.take(10);
        assert!(second > Duration::from_millis(500) && second <= Duration::from_secs(1));
        assert!(pace.take(1) > Duration::from_millis(1_500));
        assert_eq!(Pace::new(None).take(10), Duration::ZERO);
    }
}
