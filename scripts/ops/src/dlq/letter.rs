//! A dead letter: what the message says of its death, and what it becomes when it is sent back. Pure.
//!
//! The attribute `deadLetter` is called the letter's *note* here: in it the function that gave the message up
//! has written why.

use std::collections::HashMap;

use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName};
use function::dead_letter::{DeadLetter, DeadReason};
use md5::{Digest, Md5};
use schema::envelope::{Envelope, attribute};
use schema::json::{Json, Object};
use schema::timestamp::rfc3339;
use serde_json::{Map, Value, json};

/// Attributes that SQS allows on a message.
const ATTRIBUTES_MAX: usize = 10;

/// The detail of a letter that has no note, because the queue itself moved the message.
const MOVED: &str = "moved by the queue after its last permitted receive";

/// A message of the dead-letter queue. Its `Debug` form leaves out the body.
#[derive(Clone)]
pub struct Letter {
    /// The queue's id.
    pub message_id: String,
    /// The body, byte for byte.
    pub body: String,
    /// The message attributes, to be sent on as they are.
    pub attributes: HashMap<String, MessageAttributeValue>,
    /// The X-Ray trace, to be sent on as it is.
    pub trace_header: Option<String>,
    /// The group within which the queue is fair, to be sent on as it is.
    pub group: Option<String>,
    /// Since when the queue counts the message's retention, in milliseconds since 1970: since its death, or,
    /// where the queue itself moved the message, since its acceptance.
    pub sent_at_ms: i64,
    /// How often anybody has received it from the queue. Looking at it counts, too.
    pub receives: u32,
    /// Whether the queue itself moved it here. Then no note says why it died.
    pub moved_by_queue: bool,
    /// The attributes, read.
    pub envelope: Envelope,
    /// The attribute `deadLetter`, whole: a newer function may write more into it than this tool knows.
    note: Map<String, Value>,
    /// The body's properties, where it is one JSON object.
    properties: Object,
}

impl Letter {
    /// Reads a message; `None` when it lacks what every received message has.
    #[must_use]
    pub fn read(message: Message) -> Option<Letter> {
        use MessageSystemAttributeName as System;
        let system = message.attributes.unwrap_or_default();
        let number = |name: &System| system.get(name).and_then(|text| text.parse::<i64>().ok());
        let body = message.body.unwrap_or_default();
        let attributes = message.message_attributes.unwrap_or_default();
        Some(Letter {
            trace_header: system.get(&System::AwsTraceHeader).cloned(),
            group: system.get(&System::MessageGroupId).cloned(),
            sent_at_ms: number(&System::SentTimestamp).unwrap_or_default(),
            receives: number(&System::ApproximateReceiveCount)
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or_default(),
            moved_by_queue: system.contains_key(&System::DeadLetterQueueSourceArn),
            ..Letter::new(message.message_id?, body, attributes)
        })
    }

    /// A letter without what the queue adds to a message. The caller sets that.
    #[must_use]
    pub(crate) fn new(
        message_id: String,
        body: String,
        attributes: HashMap<String, MessageAttributeValue>,
    ) -> Letter {
        let texts = attributes
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.string_value()?)));
        let envelope = Envelope::read(texts);
        let note = attributes.get(attribute::DEAD_LETTER).and_then(|note| note.string_value());
        let note = note.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        Letter {
            message_id,
            trace_header: None,
            group: None,
            sent_at_ms: 0,
            receives: 0,
            moved_by_queue: false,
            properties: schema::json::parse_object(&body).unwrap_or_default(),
            body,
            attributes,
            envelope,
            note,
        }
    }

    /// Why it died: the function's word for it, or `unknown` where the queue itself moved the message. A
    /// note on such a message was written at an earlier death and says nothing of this one.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.noted("reason").unwrap_or(DeadReason::Unknown.name())
    }

    /// Whether it is dead because it did not come through the gateway: nobody has verified whose it is.
    #[must_use]
    pub fn is_unverified(&self) -> bool {
        self.reason() == DeadReason::Unverified.name()
    }

    /// When the payment was accepted, in milliseconds since 1970. Sending a letter back does not change it.
    #[must_use]
    pub fn first_seen_ms(&self) -> i64 {
        self.envelope.accepted_at_ms.map_or(self.sent_at_ms, |at| at.min(self.sent_at_ms))
    }

    /// What failed, in words.
    #[must_use]
    pub fn detail(&self) -> &str {
        self.noted("detail").unwrap_or(MOVED)
    }

    /// The version of the function that gave it up; `-` where that is unknown.
    #[must_use]
    pub fn version(&self) -> &str {
        self.noted("functionVersion").unwrap_or("-")
    }

    /// How often the function had received it when it died, where that is known. The queue's own count also
    /// counts every look since then.
    #[must_use]
    pub fn receives_before_death(&self) -> Option<u64> {
        self.note.get("receiveCount").filter(|_| !self.moved_by_queue)?.as_u64()
    }

    /// How often an operator has sent it back.
    #[must_use]
    pub fn redrives(&self) -> u64 {
        self.note.get("redriveCount").and_then(Value::as_u64).unwrap_or_default()
    }

    /// The message id that the client was given. A re-drive gives the message a new one.
    #[must_use]
    pub fn original_message_id(&self) -> &str {
        let noted = self.note.get("originalMessageId").and_then(Value::as_str);
        noted.unwrap_or(&self.message_id)
    }

    /// The id of the request that submitted it, by which logs and tables know it. A message that came
    /// without a request id is known by its first message id.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.envelope.request_id.as_deref().unwrap_or(self.original_message_id())
    }

    /// The paymentId, as far as the body can be read.
    #[must_use]
    pub fn payment_id(&self) -> Option<&str> {
        self.text("paymentId")
    }

    /// The user: the verified one, or without one the user that the body names.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.envelope.sub.as_deref().or(self.text("userId"))
    }

    /// The body's properties; none where it is not one JSON object.
    #[must_use]
    pub fn properties(&self) -> &Object {
        &self.properties
    }

    /// MD5 of the body in hexadecimal.
    #[must_use]
    pub fn body_md5(&self) -> String {
        md5_of(&self.body)
    }

    /// The attributes with which it is sent back. They are those that it has, except for two:
    /// - its note counts one more re-drive. It replaces the one that the letter has. A letter without a note
    ///   gets one, because the note keeps the message id that the client was given.
    /// - a letter without the time of its acceptance gets it, because the queue's own time starts anew.
    ///
    /// Nothing is added to a message that has ten attributes already.
    #[must_use]
    pub fn redriven(&self) -> HashMap<String, MessageAttributeValue> {
        let mut attributes = self.attributes.clone();
        let mut set = |name: &str, text: String, replaces: bool| {
            let has_room = attributes.len() < ATTRIBUTES_MAX;
            let may_set = if attributes.contains_key(name) { replaces } else { has_room };
            if may_set {
                let value = MessageAttributeValue::builder().data_type("String").string_value(text);
                let value = value.build().expect("the data type is given");
                attributes.insert(name.to_owned(), value);
            }
        };
        set(attribute::DEAD_LETTER, Value::Object(self.redriven_note()).to_string(), true);
        set(attribute::ACCEPTED_AT, self.first_seen_ms().to_string(), false);
        attributes
    }

    fn redriven_note(&self) -> Map<String, Value> {
        let mut note = self.note.clone();
        let is_readable = serde_json::from_value::<DeadLetter>(json!(note)).is_ok();
        if self.moved_by_queue || !is_readable {
            let unknown = DeadLetter {
                reason: DeadReason::Unknown,
                detail: MOVED.to_owned(),
                original_message_id: self.original_message_id().to_owned(),
                receive_count: self.receives,
                function_version: "-".to_owned(),
                at: rfc3339(self.sent_at_ms),
                redrive_count: 0,
            };
            if let Ok(Value::Object(unknown)) = serde_json::to_value(unknown) {
                note.extend(unknown);
            }
        }
        note.insert("redriveCount".to_owned(), (self.redrives() + 1).into());
        note
    }

    /// What the note of this death says under a name.
    fn noted(&self, name: &str) -> Option<&str> {
        self.note.get(name).filter(|_| !self.moved_by_queue)?.as_str()
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self.properties.get(name)? {
            Json::String(text) => Some(text),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => None,
        }
    }
}

/// The message ids of letters.
pub(crate) fn ids_of(letters: &[Letter]) -> Vec<&str> {
    letters.iter().map(|letter| letter.message_id.as_str()).collect()
}

/// MD5 in hexadecimal.
pub(crate) fn md5_of(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl std::fmt::Debug for Letter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Letter")
            .field("message_id", &self.message_id)
            .field("reason", &self.reason())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A letter as the queue would deliver it.
    pub(crate) fn letter(id: &str, body: &str, texts: &[(&str, &str)], native: bool) -> Letter {
        use MessageSystemAttributeName as System;
        let mut message = Message::builder()
            .message_id(id)
            .body(body)
            .attributes(System::SentTimestamp, "1790000000123")
            .attributes(System::ApproximateReceiveCount, "7");
        if native {
            let source = "arn:aws:sqs:us-east-1:000000000000:submit-payment-queue";
            message = message.attributes(System::DeadLetterQueueSourceArn, source);
        }
        for (name, value) in texts {
            let value = MessageAttributeValue::builder().data_type("String").string_value(*value);
            message = message.message_attributes(*name, value.build().unwrap());
        }
        Letter::read(message.build()).unwrap()
    }

    pub(crate) const NOTE: &str = r#"{"reason":"throttled","detail":"put payment: throttled","originalMessageId":"first","receiveCount":5,"functionVersion":"7","at":"2026-11-20T12:00:00.000Z","redriveCount":1}"#;

    fn note_of(attributes: &HashMap<String, MessageAttributeValue>) -> Value {
        serde_json::from_str(attributes["deadLetter"].string_value().unwrap()).unwrap()
    }

    #[test]
    fn a_redriven_letter_keeps_everything_and_counts_one_more() {
        let newer = NOTE.replace(r#""detail""#, r#""moon":"full","detail""#);
        let texts = [("sub", "u"), ("requestId", "r"), ("other", "x"), ("deadLetter", &newer)];
        let letter = letter("m", "{}", &texts, false);
        assert_eq!((letter.reason(), letter.version()), ("throttled", "7"));
        assert_eq!((letter.receives_before_death(), letter.redrives()), (Some(5), 1));
        let sent = letter.redriven();
        assert_eq!(sent.len(), 5);
        for name in ["sub", "requestId", "other"] {
            assert_eq!(sent[name], letter.attributes[name]);
        }
        assert_eq!(sent["acceptedAt"].string_value(), Some("1790000000123"), "the queue's own");
        let mut expected: Value = serde_json::from_str(&newer).unwrap();
        expected["redriveCount"] = json!(2);
        assert_eq!(note_of(&sent), expected);
    }

    #[test]
    fn what_the_queue_moved_itself_died_of_nothing_known_whatever_an_earlier_death_left() {
        for (texts, first, redrives) in
            [(&[][..], "m", 1), (&[("deadLetter", NOTE)][..], "first", 2)]
        {
            let letter = letter("m", "{}", texts, true);
            assert_eq!((letter.reason(), letter.version()), ("unknown", "-"));
            assert_eq!((letter.receives_before_death(), letter.request_id()), (None, first));
            let note: DeadLetter = serde_json::from_value(note_of(&letter.redriven())).unwrap();
            assert_eq!((note.reason, note.receive_count), (DeadReason::Unknown, 7));
            assert_eq!(note.original_message_id, first);
            assert_eq!(note.redrive_count, redrives);
        }
    }

    #[test]
    fn the_function_can_read_every_note_that_is_sent() {
        for note in ["", "{", "[]", "{}", r#"{"reason":7}"#, r#"{"redriveCount":-1}"#, NOTE] {
            let letter = letter("m", "{}", &[("deadLetter", note)], false);
            let sent = letter.redriven();
            let read = DeadLetter::read(sent["deadLetter"].string_value().unwrap());
            assert!(read.is_some(), "{note}");
        }
    }

    #[test]
    fn when_it_was_first_seen_outlives_a_re_drive() {
        for (accepted, first_seen) in [
            (&[][..], 1_790_000_000_123),
            (&[("acceptedAt", "1700000000000")][..], 1_700_000_000_000),
            (&[("acceptedAt", "1999999999999")][..], 1_790_000_000_123),
            (&[("acceptedAt", "yesterday")][..], 1_790_000_000_123),
        ] {
            let letter = letter("m", "{}", accepted, false);
            assert_eq!(letter.first_seen_ms(), first_seen);
            let attributes = letter.redriven();
            if let [(name, value)] = accepted {
                assert_eq!(attributes[*name].string_value(), Some(*value), "byte for byte");
            }
            let mut again = Letter::new("n".to_owned(), "{}".to_owned(), attributes);
            again.sent_at_ms = 1_790_000_999_999;
            if accepted.is_empty() {
                assert_eq!(again.first_seen_ms(), first_seen);
            }
        }
    }

    #[test]
    fn a_message_with_ten_attributes_goes_as_it_is() {
        let names: Vec<String> = (0..10).map(|number| format!("a{number}")).collect();
        let mut texts: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
        let full = letter("m", "{}", &texts, true);
        assert_eq!(full.redriven(), full.attributes);
        texts[9] = ("deadLetter", NOTE);
        assert_eq!(letter("m", "{}", &texts, false).redriven().len(), 10);
    }

    #[test]
    fn the_user_is_the_verified_one_and_its_debug_form_says_nothing() {
        let body = r#"{"paymentId":"p","userId":"claimed","description":"secret"}"#;
        let verified = letter("m", body, &[("sub", "verified")], false);
        assert_eq!((verified.user(), verified.payment_id()), (Some("verified"), Some("p")));
        assert_eq!(letter("m", body, &[], false).user(), Some("claimed"));
        assert_eq!(letter("m", "no json", &[], false).payment_id(), None);
        assert!(!format!("{verified:?}").contains("secret"));
    }
}
