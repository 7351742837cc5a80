//! The queue and its dead-letter queue: at least once, in any order, with visibility, receive counts
//! and the move of what was received too often.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use aws_lambda_events::sqs::{SqsMessage, SqsMessageAttribute};
use function::dead_letter::DeadLetter;
use schema::envelope::attribute;
use tokio::time::Instant;

/// A message. Its id is `m<submission>-<copy>`: a re-drive makes a new copy.
#[derive(Debug, Clone)]
pub struct Message {
    /// Number of the submission.
    pub submission: usize,
    /// Number of the copy.
    pub copy: u32,
    /// The body.
    pub body: String,
    /// Message attributes.
    pub attributes: BTreeMap<String, String>,
    /// The X-Ray trace.
    pub trace_header: Option<String>,
    /// How often it was received.
    pub receive_count: u32,
    /// From when on it can be received.
    pub visible_at: Instant,
}

impl Message {
    /// The queue's id of the message.
    #[must_use]
    pub fn id(&self) -> String {
        format!("m{}-{}", self.submission, self.copy)
    }

    /// The message as the function's event shows it. Its receipt handle says which receive it was.
    #[must_use]
    pub fn delivered(&self) -> SqsMessage {
        let mut message = SqsMessage::default();
        message.message_id = Some(self.id());
        message.receipt_handle = Some(format!("{}/{}", self.id(), self.receive_count));
        message.md5_of_body = Some(hash_of(&self.body));
        message.body = Some(self.body.clone());
        let count = ("ApproximateReceiveCount".to_owned(), self.receive_count.to_string());
        let trace = self.trace_header.clone().map(|trace| ("AWSTraceHeader".to_owned(), trace));
        message.attributes = [count].into_iter().chain(trace).collect();
        let text = |(name, value): (&String, &String)| {
            let mut attribute = SqsMessageAttribute::default();
            attribute.data_type = Some("String".to_owned());
            attribute.string_value = Some(value.clone());
            (name.clone(), attribute)
        };
        message.message_attributes = self.attributes.iter().map(text).collect();
        message
    }

    /// The copy that a re-drive sends to the queue: unread, and its dead letter counts the re-drive.
    #[must_use]
    pub fn redriven(&self, copy: u32, now: Instant) -> Message {
        let mut message = Message { copy, receive_count: 0, visible_at: now, ..self.clone() };
        if let Some(json) = message.attributes.get_mut(attribute::DEAD_LETTER)
            && let Ok(mut dead_letter) = serde_json::from_str::<DeadLetter>(json)
        {
            dead_letter.redrive_count += 1;
            *json = dead_letter.to_json();
        }
        message
    }
}

/// Stands for the MD5 of a body: equal bodies have equal ones.
#[must_use]
pub fn hash_of(body: &str) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The queues.
#[derive(Debug, Default)]
pub struct Queues {
    /// The queue's messages by submission and copy.
    pub main: BTreeMap<(usize, u32), Message>,
    /// Dead letters.
    pub dead: Vec<Message>,
    /// Copies made of each submission.
    copies: BTreeMap<usize, u32>,
}

impl Queues {
    /// The number of a submission's next copy.
    pub fn next_copy(&mut self, submission: usize) -> u32 {
        let copies = self.copies.entry(submission).or_default();
        *copies += 1;
        *copies - 1
    }

    /// Puts a message on the queue.
    pub fn send(&mut self, message: Message) {
        self.main.insert((message.submission, message.copy), message);
    }

    /// What can be received now.
    #[must_use]
    pub fn visible(&self, now: Instant) -> Vec<(usize, u32)> {
        let visible = self.main.iter().filter(|(_, message)| message.visible_at <= now);
        visible.map(|(key, _)| *key).collect()
    }

    /// The time until something can be received; `None` when the queue is empty.
    #[must_use]
    pub fn next_visible(&self, now: Instant) -> Option<Duration> {
        let next = self.main.values().map(|message| message.visible_at).min()?;
        Some(next.saturating_duration_since(now))
    }

    /// Whether a copy of a submission waits on either queue.
    #[must_use]
    pub fn holds(&self, submission: usize) -> bool {
        self.main.range((submission, 0)..=(submission, u32::MAX)).next().is_some()
            || self.dead.iter().any(|message| message.submission == submission)
    }
}
