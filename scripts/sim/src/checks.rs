//! The invariants. Each is checked where it can be broken, at every effect on what the effect touches;
//! nothing else has changed since the last check.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use bigdecimal::BigDecimal;
use function::dead_letter::{DeadLetter, DeadReason};
use query_payments::outcome::{of_payment, of_submission};
use schema::answer::Status;
use schema::envelope::attribute;
use serde_json::Value;
use submit_payments::outcome::Outcome;
use tables::item::{Item, read_payment};
use tables::{Kind, Record};
use tokio::time::Instant;

use crate::clients::{Class, Key, number_of, request_id};
use crate::faults::Sabotage;
use crate::queue::Message;
use crate::world::World;

/// What invariant 9 compares: both tables, and whose letters are on the dead-letter queue.
pub(crate) type Snapshot = (BTreeMap<Key, Item>, BTreeMap<Key, Record>, BTreeSet<usize>);

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
        let by = (number, Instant::now());
        if self.stored_by.insert(pair, by).is_some() && self.violation.is_none() {
            self.broken(2, format!("{request} stores a second item of {}", key.0));
        }
    }

    /// The key of a submission's record; `None` when nobody vouches for it.
    fn record_key(&self, number: usize) -> Option<Key> {
        let submission = self.accepted.get(number)?;
        let id = match &submission.class {
            Class::Payment((id, _), _) => id.as_str(),
            Class::Refused(id, _) => id.as_deref().unwrap_or("-"),
            Class::Unverified => return None,
        };
        Some((submission.sub.clone()?, format!("{id}#{}", request_id(number))))
    }

    fn recorded(&self, number: usize) -> Option<&Record> {
        self.refusals.get(&self.record_key(number)?)
    }

    fn recorded_kind(&self, number: usize) -> Option<Kind> {
        self.recorded(number).map(|record| record.kind)
    }

    /// The submission that is stored under the key of this one, and in what the two differ.
    fn stored_beside(&self, number: usize) -> Option<(usize, Vec<&'static str>)> {
        let Class::Payment(key, content) = &self.accepted.get(number)?.class else { return None };
        let (stored_by, _) = *self.stored_by.get(key)?;
        let Class::Payment(_, stored) = &self.accepted[stored_by].class else { return None };
        Some((stored_by, stored.differences(*content)))
    }

    /// Whether a submission may be refused as this: by its class, as a conflict with what is stored, or
    /// by the stricter version, which has seen that no such payment is stored.
    fn may_be_refused(&self, number: usize, reason: &str, fields: &[String]) -> bool {
        match self.accepted.get(number).map(|submission| &submission.class) {
            // The stricter version may find a fault before it looks whose payment it is.
            Some(Class::Refused(_, expected @ "owner_mismatch")) => {
                reason == *expected || (self.strict_version.is_some() && reason == "invalid")
            }
            Some(Class::Refused(_, expected)) => reason == *expected,
            Some(Class::Payment(..)) if reason == "conflict" => {
                let differences = self.stored_beside(number).map(|(_, fields)| fields);
                differences.is_some_and(|expected| !expected.is_empty() && expected == fields)
            }
            Some(Class::Payment(key, content)) => {
                let is_strict = self.strict_version.is_some() && content.is_strictly_invalid();
                let is_other = self.stored_beside(number).is_some_and(|(_, it)| !it.is_empty());
                let stored_at = self.stored_by.get(key).map(|(_, at)| at);
                let seen_missing = self.seen_missing.get(key);
                let was_missing =
                    seen_missing.is_some_and(|seen| stored_at.is_none_or(|stored| seen <= stored));
                reason == "invalid" && is_strict && (is_other || was_missing)
            }
            Some(Class::Unverified) | None => false,
        }
    }

    fn is_stored(&self, number: usize) -> bool {
        self.stored_beside(number).is_some_and(|(stored_by, _)| stored_by == number)
    }

    /// Whether a submission has an outcome for good.
    fn is_final(&self, number: usize) -> bool {
        let is_final = |kind| matches!(kind, Kind::Refused | Kind::Duplicate);
        self.is_stored(number) || self.recorded_kind(number).is_some_and(is_final)
    }

    /// Invariants 1 and 12 at the tables: what is on record is true, and filed where it is looked for.
    pub(crate) fn check_recorded(&mut self, record: &Record) {
        let number = number_of(&record.request_id).unwrap_or(usize::MAX);
        let Some(submission) = self.accepted.get(number) else {
            return self.broken(12, format!("a record of the unknown {}", record.request_id));
        };
        let has_body = record.body.as_ref() == Some(&submission.body);
        let key = (record.user_id.clone(), record.payment_and_request.clone());
        let is_faithful =
            self.record_key(number) == Some(key) && number_of(&record.message_id) == Some(number);
        let is_due = match record.kind {
            Kind::Held | Kind::Discarded => has_body && self.letters.contains_key(&number),
            Kind::Refused => {
                has_body && self.may_be_refused(number, &record.reason, &record.fields)
            }
            Kind::Duplicate => self.stored_beside(number).is_some_and(|(stored_by, fields)| {
                let is_same_bytes = self.accepted[stored_by].body == submission.body;
                let is_kept = if is_same_bytes { record.body.is_none() } else { has_body };
                stored_by != number && fields.is_empty() && is_kept
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
            // Only the operator's tool says so, never the function.
            DeadReason::Unknown => false,
            // Every message here is a payment.
            DeadReason::UnknownKind => false,
            DeadReason::Call(failure) if !failure.may_pass() => true,
            DeadReason::Call(_) | DeadReason::Function(_) => {
                dead_letter.receive_count + 1 >= self.receive_count_max
            }
        };
        if !is_original || !is_due || dead_letter.receive_count != message.receive_count {
            self.broken(7, format!("{} must not die of {dead_letter:?}", message.id()));
        }
    }

    /// Invariant 1, whenever a message is gone.
    pub(crate) fn check_accounted(&mut self, number: usize) {
        let is_discarded = self.discarded.contains(&number)
            && (self.record_key(number).is_none()
                || self.recorded_kind(number) == Some(Kind::Discarded));
        if !self.is_final(number) && !is_discarded && !self.queues.holds(number) {
            self.broken(1, format!("r{number} is lost"));
        }
    }

    /// Whether an outcome is durable, so that its message may be deleted (invariant 8). What is refused on
    /// record stays so where the other version of the function sees a duplicate later.
    pub(crate) fn is_durable(&self, number: usize, outcome: &Outcome, has_letter: bool) -> bool {
        let kind = self.recorded_kind(number);
        let beside = self.stored_beside(number);
        match outcome {
            Outcome::Stored => self.is_stored(number),
            Outcome::Duplicate => {
                let is_other = |(by, fields): (usize, Vec<_>)| by != number && fields.is_empty();
                beside.is_some_and(is_other)
                    && matches!(kind, Some(Kind::Duplicate | Kind::Refused))
            }
            // Whether for the right reason was checked when it was recorded. What the stricter version
            // judged before the same payment was stored may be on record as a duplicate by now.
            Outcome::Refused(_) => {
                kind == Some(Kind::Refused)
                    || (self.strict_version.is_some() && kind == Some(Kind::Duplicate))
            }
            Outcome::Dead(_) => has_letter,
            Outcome::Retry(_) => false,
        }
    }

    /// Invariants 1, 7, 10 and 12 when everything has come to rest: the tables are what the accepted
    /// submissions say, given which of two conflicting ones came first, nothing else is there, and
    /// whoever asks for one submission is told what became of this one.
    pub(crate) fn check_rest(&mut self) {
        let mut records = 0;
        for number in 0..self.accepted.len() {
            let kind = self.recorded_kind(number);
            records += usize::from(kind.is_some());
            let is_dead = self.queues.holds(number);
            let is_refused = kind == Some(Kind::Refused);
            let is_right = match &self.accepted[number].class {
                Class::Payment(_, content) => {
                    let is_strict = self.strict_version.is_some() && content.is_strictly_invalid();
                    let is_due = match self.stored_beside(number) {
                        Some((stored_by, _)) if stored_by == number => true,
                        Some((_, fields)) if fields.is_empty() => kind == Some(Kind::Duplicate),
                        Some(_) => is_refused,
                        None => false,
                    };
                    !is_dead && (is_due || (is_strict && is_refused))
                }
                Class::Refused(..) => !is_dead && is_refused,
                Class::Unverified => is_dead,
            };
            if !is_right {
                let state = format!("on record as {kind:?}, dead {is_dead}");
                self.broken(12, format!("r{number} came to rest wrongly: {state}"));
            }
            self.check_answer(number);
        }
        if self.refusals.len() != records || self.payments.len() != self.stored_by.len() {
            let found = self.refusals.len();
            self.broken(12, format!("{found} submissions on record instead of {records}"));
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

    /// What the API answers to whoever asks for this submission, from what is in the tables.
    fn check_answer(&mut self, number: usize) {
        let Some((user, filed)) = self.record_key(number) else { return };
        let id = filed.split('#').next().unwrap_or_default().to_owned();
        let item = self.payments.get(&(id.clone(), user)).cloned();
        let item = item.map(|item| read_payment(item).expect("the function wrote the item"));
        let record = self.recorded(number).cloned();
        let answer = if self.is_sabotaged(Sabotage::AnsweredAboutAnother) {
            of_payment(&id, item, record.into_iter().collect())
        } else {
            of_submission(&id, &request_id(number), item, record)
        };
        let answer = answer.map(|answer| (answer.request_id, answer.status == Status::Stored));
        if answer != Some((request_id(number), self.is_stored(number))) {
            self.broken(1, format!("whoever asks for r{number} is answered {answer:?}"));
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
