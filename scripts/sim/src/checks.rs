//! The invariants. Each is checked where it can be broken, at every effect on what the effect touches;
//! nothing else has changed since the last check.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use bigdecimal::BigDecimal;
use payments_table::item::Item;
use payments_table::{Kind, Record};
use schema::envelope::{DeadLetter, DeadReason, attribute};
use serde_json::Value;
use submit_payments::outcome::Outcome;

use crate::clients::{Class, Key, number_of, request_id};
use crate::queue::Message;
use crate::world::World;

/// What invariant 9 compares: both tables, and whose letters are on the dead-letter queue.
pub(crate) type Snapshot = (BTreeMap<Key, Item>, BTreeMap<Key, Record>, BTreeSet<usize>);

/// A refusal as it must be on record: its key, reason and fields.
type Expected = (Key, &'static str, Vec<&'static str>);

impl World {
    /// Invariants 2 to 5, before an item is written.
    pub(crate) fn check_stored(&mut self, key: &Key, item: &Item) {
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
        let request = text("_requestId").unwrap_or_default();
        let Some(number) = number_of(&request).filter(|number| *number < self.accepted.len())
        else {
            return self.broken(4, format!("an item of the unknown request {request}"));
        };
        let submission = &self.accepted[number];
        let (sub, user) = (submission.sub.clone(), text("userId"));
        let is_equal = is_stored(&submission.body, item);
        let is_payment = matches!(submission.class, Class::Payment(..));
        if self.payments.contains_key(key) {
            self.broken(3, format!("{request} overwrites the payment {}", key.0));
        } else if sub != user {
            self.broken(5, format!("{request} of {sub:?} is stored for {user:?}"));
        } else if !is_equal || !is_payment {
            self.broken(4, format!("the item of {request} is not what was accepted"));
        }
        let pair = (text("paymentId").unwrap_or_default(), user.unwrap_or_default());
        if self.stored_by.insert(pair, number).is_some() && self.violation.is_none() {
            self.broken(2, format!("{request} stores a second item of {}", key.0));
        }
    }

    /// What must be on record of a submission now; `None` when nothing must.
    fn expected_refusal(&self, number: usize) -> Option<Expected> {
        let submission = self.accepted.get(number)?;
        let key = |id: Option<&String>| {
            let id = id.map_or("-", String::as_str);
            let sub = submission.sub.clone().unwrap_or_default();
            (sub, format!("{id}#{}", request_id(number)))
        };
        match &submission.class {
            Class::Unverified => None,
            Class::Refused(id, reason) => Some((key(id.as_ref()), reason, Vec::new())),
            Class::Payment(payment, content) => {
                let stored_by = *self.stored_by.get(payment)?;
                let Class::Payment(_, stored) = &self.accepted[stored_by].class else {
                    return None;
                };
                let fields = stored.differences(*content);
                (!fields.is_empty()).then(|| (key(Some(&payment.0)), "conflict", fields))
            }
        }
    }

    fn is_refused(&self, number: usize) -> bool {
        let expected = self.expected_refusal(number);
        let found = expected.as_ref().and_then(|(key, _, _)| self.refusals.get(key));
        found.is_some_and(|record| record.kind == Kind::Refused)
    }

    fn is_stored(&self, number: usize) -> bool {
        match self.accepted.get(number).map(|submission| &submission.class) {
            Some(Class::Payment(key, _)) => {
                self.stored_by.contains_key(key) && self.expected_refusal(number).is_none()
            }
            Some(Class::Refused(..) | Class::Unverified) | None => false,
        }
    }

    /// Invariants 1 and 12 at the tables: only what must be refused is refused, for its reason, under
    /// its user; only what has a dead letter is held.
    pub(crate) fn check_recorded(&mut self, record: &Record) {
        let number = number_of(&record.request_id).unwrap_or(usize::MAX);
        let Some(submission) = self.accepted.get(number) else {
            return self.broken(12, format!("a record of the unknown {}", record.request_id));
        };
        let is_faithful = record.body == submission.body
            && Some(&record.user_id) == submission.sub.as_ref()
            && number_of(&record.message_id) == Some(number);
        let is_due = match record.kind {
            Kind::Held => self.letters.contains_key(&number),
            Kind::Refused => self.expected_refusal(number).is_some_and(|(key, reason, fields)| {
                key.1 == record.payment_and_request
                    && reason == record.reason
                    && (reason != "conflict" || fields == record.fields)
            }),
        };
        if !is_faithful || !is_due {
            self.broken(12, format!("{record:?} must not be on record with {:?}", record.fields));
        }
    }

    /// Invariants 6 and 7, and that nothing dies before its time.
    pub(crate) fn check_dead_letter(&mut self, message: &Message) {
        let Some(submission) = self.accepted.get(message.submission) else {
            return self.broken(6, format!("an unknown letter {}", message.id()));
        };
        let mut attributes = message.attributes.clone();
        let dead_letter = attributes.remove(attribute::DEAD_LETTER);
        let is_kept = message.body == submission.body
            && attributes == submission.attributes
            && message.trace_header == submission.trace_header;
        let is_unverified = matches!(submission.class, Class::Unverified);
        let Some(dead_letter) =
            dead_letter.and_then(|json| serde_json::from_str::<DeadLetter>(&json).ok())
        else {
            return self.broken(7, format!("{} has no reason", message.id()));
        };
        if !is_kept {
            return self.broken(6, format!("{} is not what was accepted", message.id()));
        }
        let is_original = number_of(&dead_letter.original_message_id) == Some(message.submission);
        // The older of the two versions gives up one receive earlier.
        let is_due = match dead_letter.reason {
            DeadReason::Unverified => is_unverified,
            DeadReason::CollectionFull => true,
            // Only the operator's tool says so, never the function.
            DeadReason::Unknown => false,
            DeadReason::Throttled
            | DeadReason::Unavailable
            | DeadReason::TimedOut
            | DeadReason::AccessDenied
            | DeadReason::TableNotFound
            | DeadReason::RequestRejected
            | DeadReason::ItemUnreadable
            | DeadReason::UnknownError
            | DeadReason::DeadlineExceeded
            | DeadReason::Panicked => dead_letter.receive_count + 1 >= self.receive_count_max,
        };
        if !is_original || !is_due || dead_letter.receive_count != message.receive_count {
            self.broken(7, format!("{} must not die of {dead_letter:?}", message.id()));
        }
    }

    /// Invariant 1, whenever a message is gone.
    pub(crate) fn check_accounted(&mut self, number: usize) {
        let is_durable = self.is_stored(number) || self.is_refused(number);
        if !is_durable && !self.queues.holds(number) {
            self.broken(1, format!("r{number} is lost"));
        }
    }

    /// Whether an outcome is durable, so that its message may be deleted (invariant 8).
    pub(crate) fn is_durable(&self, number: usize, outcome: &Outcome, has_letter: bool) -> bool {
        let stored_by = match self.accepted.get(number).map(|submission| &submission.class) {
            Some(Class::Payment(key, _)) => self.stored_by.get(key).copied(),
            Some(Class::Refused(..) | Class::Unverified) | None => None,
        };
        match outcome {
            Outcome::Stored => self.is_stored(number) && stored_by == Some(number),
            Outcome::Duplicate => self.is_stored(number) && stored_by != Some(number),
            Outcome::Refused(refusal) => {
                let expected = self.expected_refusal(number);
                self.is_refused(number)
                    && expected.is_some_and(|(_, reason, _)| reason == refusal.reason())
            }
            Outcome::Dead(_) => has_letter,
            Outcome::Retry(_) => false,
        }
    }

    /// Invariants 1, 7, 10 and 12 when everything has come to rest: the tables are what the accepted
    /// submissions say, given which of two conflicting ones came first, and nothing else is there.
    pub(crate) fn check_rest(&mut self) {
        let mut refusals = 0;
        for number in 0..self.accepted.len() {
            let (is_stored, is_refused) = (self.is_stored(number), self.is_refused(number));
            refusals += usize::from(is_refused);
            let is_dead = self.queues.holds(number);
            let is_right = match self.accepted[number].class {
                Class::Payment(..) => is_stored != is_refused && !is_dead,
                Class::Refused(..) => is_refused && !is_dead,
                Class::Unverified => is_dead && !is_stored && !is_refused,
            };
            if !is_right {
                let state = format!("stored {is_stored}, refused {is_refused}, dead {is_dead}");
                self.broken(12, format!("r{number} came to rest wrongly: {state}"));
            }
        }
        let recorded = self.refusals.values().filter(|record| record.kind == Kind::Refused).count();
        if recorded != refusals || self.payments.len() != self.stored_by.len() {
            self.broken(12, format!("{recorded} refusals on record instead of {refusals}"));
        }
        let max = self.receive_count_max;
        let has_reason = |message: &Message| {
            message.attributes.contains_key(attribute::DEAD_LETTER) || message.receive_count > max
        };
        if let Some(message) = self.queues.dead.iter().find(|message| !has_reason(message)) {
            let id = message.id();
            self.broken(7, format!("{id} is dead without a reason"));
        }
    }

    /// What must stay as it is when everything is re-driven once more (invariant 9).
    pub(crate) fn snapshot(&self) -> Snapshot {
        (self.payments.clone(), self.refusals.clone(), self.dead())
    }
}

/// Whether an item holds a body: strings byte for byte, numbers by value, and nothing but ours beside.
fn is_stored(body: &str, item: &Item) -> bool {
    let Ok(Value::Object(body)) = serde_json::from_str(body) else { return false };
    item.keys().filter(|name| !name.starts_with('_')).count() == body.len()
        && body.iter().all(|(name, value)| item.get(name).is_some_and(|at| is_same(value, at)))
}

fn is_same(value: &Value, attribute: &AttributeValue) -> bool {
    match (value, attribute) {
        (Value::Null, AttributeValue::Null(_)) => true,
        (Value::Bool(value), AttributeValue::Bool(stored)) => value == stored,
        (Value::String(text), AttributeValue::S(stored)) => text == stored,
        (Value::Number(number), AttributeValue::N(stored)) => {
            let (number, stored) = (number.to_string().parse::<BigDecimal>(), stored.parse());
            number.is_ok_and(|number| stored.is_ok_and(|stored: BigDecimal| stored == number))
        }
        (Value::Array(items), AttributeValue::L(stored)) => {
            items.len() == stored.len()
                && items.iter().zip(stored).all(|(item, stored)| is_same(item, stored))
        }
        (Value::Object(members), AttributeValue::M(stored)) => {
            let has = |(name, value): (&String, &Value)| {
                stored.get(name).is_some_and(|stored| is_same(value, stored))
            };
            members.len() == stored.len() && members.iter().all(has)
        }
        (_, _) => false,
    }
}
