//! The world as one invocation of the function sees it: the second implementation of its edges.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use function::dead_letter::DeadLetter;
use function::failure::CallFailure;
use function::queue::{self, Queue, QueueFailure};
use schema::envelope::attribute;
use schema::payment::Payment;
use schema::refusal::Refusal;
use submit_payments::edges::Edges;
use tables::failure::Operation;
use tables::item::of_payment;
use tables::{Failure, Kind, PaymentItem, Put, Record, Submission};
use tokio::time::{Instant, sleep};

use crate::clients::{STRICT_AMOUNT_MINOR_MAX, number_of};
use crate::faults::{Place, Sabotage};
use crate::queue::Message;
use crate::tally::Branch;
use crate::world::{Applied, Effect, Fate, World};

/// Locks the world. A record that panics on purpose never holds it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an invocation has seen of its calls.
#[derive(Debug, Default)]
pub struct Seen {
    /// Submissions with a call that a fault struck.
    pub faulty: BTreeSet<usize>,
    /// Submissions whose put stored something new.
    pub fresh: BTreeSet<usize>,
    /// Messages whose dead letter was sent.
    pub sent: BTreeSet<String>,
    /// Calls that are under way, by where they are.
    pub under_way: BTreeMap<Branch, u32>,
}

/// One invocation's edges.
pub struct Function<'a> {
    world: &'a Mutex<World>,
    /// Whether this version of the function has the stricter rules.
    is_strict: bool,
    /// What it has seen.
    pub seen: Mutex<Seen>,
}

/// A call that is under way at one of its two awaits, for as long as this lives.
struct UnderWay<'a>(&'a Mutex<Seen>, Branch);

impl<'a> UnderWay<'a> {
    fn begin(seen: &'a Mutex<Seen>, when: &'static str, place: Place) -> UnderWay<'a> {
        let call = match place {
            Place::Put => "put",
            Place::Read => "read",
            Place::Record => "record",
            Place::DeadLetter => "dead letter",
            Place::Postpone => "postpone",
            Place::Elsewhere => "anything",
        };
        *lock(seen).under_way.entry((when, call)).or_default() += 1;
        UnderWay(seen, (when, call))
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(count) = lock(self.0).under_way.get_mut(&self.1) {
            *count -= 1;
        }
    }
}

impl<'a> Function<'a> {
    /// Edges into a world.
    #[must_use]
    pub fn new(world: &'a Mutex<World>, is_strict: bool) -> Function<'a> {
        Function { world, is_strict, seen: Mutex::default() }
    }

    /// One call, with whatever is to happen to it.
    async fn call(&self, place: Place, id: &str, effect: Effect) -> Result<Applied, CallFailure> {
        let number = number_of(id).unwrap_or(usize::MAX);
        let call = lock(self.world).call(place, number);
        if call.is_faulty {
            let mut seen = lock(&self.seen);
            match &effect {
                // A read says whose payment it is about, not which submission.
                Effect::Read(key) => seen.faulty.extend(lock(self.world).submissions_of(key)),
                Effect::Put(..)
                | Effect::Record(_)
                | Effect::DeadLetter(_)
                | Effect::Postpone(..) => {
                    seen.faulty.insert(number);
                }
            }
            drop(seen);
            let (fate, took) = (call.fate, call.before + call.after);
            lock(self.world).log(|| format!("{place} of {id} will be {fate:?}, {took:?}"));
        }
        let before = UnderWay::begin(&self.seen, "before", place);
        sleep(call.before).await;
        drop(before);
        let applied = match call.fate {
            Fate::Works | Fate::ReplyLost => lock(self.world).apply(effect),
            Fate::Refused(reason) => return Err(reason),
            Fate::Panics => resume_unwind(Box::new("told to panic")),
            Fate::Late(delay) => {
                lock(self.world).apply_later(delay, effect);
                Applied::Done
            }
        };
        let after = UnderWay::begin(&self.seen, "after", place);
        sleep(call.after).await;
        drop(after);
        if call.fate == Fate::Works { Ok(applied) } else { Err(CallFailure::TimedOut) }
    }

    fn is_sabotaged(&self, sabotage: Sabotage) -> bool {
        lock(self.world).is_sabotaged(sabotage)
    }
}

fn failure(operation: Operation, cause: CallFailure) -> Failure {
    Failure { operation, cause, code: None }
}

fn queue_failure(attempted: &'static str, cause: CallFailure) -> QueueFailure {
    QueueFailure { attempted, code: cause.name().to_owned() }
}

impl Edges for Function<'_> {
    fn parse(&self, body: &str, accepted_at_ms: i64) -> Result<Payment, Refusal> {
        let payment = Payment::parse(body, accepted_at_ms)?;
        if self.is_strict && payment.amount_minor() > STRICT_AMOUNT_MINOR_MAX {
            let (field, rule) = ("amount".to_owned(), "must not be so large");
            return Err(Refusal::Invalid { field, rule });
        }
        Ok(payment)
    }

    async fn put_payment(
        &self,
        payment: &Payment,
        submission: &Submission,
        now_ms: i64,
    ) -> Result<Put, Failure> {
        let user = payment.user_id().as_str().to_owned();
        let key = (payment.payment_id().as_str().to_owned(), user);
        let effect = Effect::Put(key, of_payment(payment, submission, now_ms));
        let id = &submission.request_id;
        match self.call(Place::Put, id, effect).await {
            Ok(Applied::Put(put)) => {
                if put == Put::Stored {
                    lock(&self.seen).fresh.extend(number_of(id));
                }
                Ok(put)
            }
            Err(_) if self.is_sabotaged(Sabotage::ErrorSwallowed) => Ok(Put::Stored),
            Ok(_) => Err(failure(Operation::PutPayment, CallFailure::Unknown)),
            Err(reason) => Err(failure(Operation::PutPayment, reason)),
        }
    }

    async fn stored_payment(
        &self,
        user_id: &str,
        payment_id: &str,
    ) -> Result<Option<PaymentItem>, Failure> {
        if self.is_sabotaged(Sabotage::StoredJudged) {
            return Ok(None);
        }
        let effect = Effect::Read((payment_id.to_owned(), user_id.to_owned()));
        match self.call(Place::Read, payment_id, effect).await {
            Ok(Applied::Read(item)) => Ok(item),
            Ok(_) => Err(failure(Operation::ReadPayment, CallFailure::Unknown)),
            Err(reason) => Err(failure(Operation::ReadPayment, reason)),
        }
    }

    async fn record(&self, record: &Record) -> Result<(), Failure> {
        let is_forgotten = match record.kind {
            Kind::Duplicate => self.is_sabotaged(Sabotage::DuplicateForgotten),
            Kind::Refused | Kind::Held | Kind::Discarded => {
                self.is_sabotaged(Sabotage::RefusalForgotten)
            }
        };
        if is_forgotten {
            return Ok(());
        }
        let effect = Effect::Record(Box::new(record.clone()));
        let called = self.call(Place::Record, &record.request_id, effect).await;
        called.map(drop).map_err(|reason| failure(Operation::RecordRefusal, reason))
    }
}

impl Queue for Function<'_> {
    async fn send_dead_letter(
        &self,
        given: &queue::Message,
        dead_letter: &DeadLetter,
    ) -> Result<(), QueueFailure> {
        if self.is_sabotaged(Sabotage::DeadLetterForgotten) {
            return Ok(());
        }
        let text = |(name, value): &(String, aws_lambda_events::sqs::SqsMessageAttribute)| {
            Some((name.clone(), value.string_value.clone()?))
        };
        let mut attributes: BTreeMap<String, String> =
            given.attributes.iter().filter_map(text).collect();
        attributes.insert(attribute::DEAD_LETTER.to_owned(), dead_letter.to_json());
        let message = Message {
            submission: number_of(&given.message_id).unwrap_or(usize::MAX),
            copy: 0,
            body: given.body.clone(),
            attributes,
            trace_header: given.trace_header.clone(),
            receive_count: given.receive_count,
            visible_at: Instant::now(),
        };
        let effect = Effect::DeadLetter(Box::new(message));
        match self.call(Place::DeadLetter, &given.message_id, effect).await {
            Ok(_) => {
                lock(&self.seen).sent.insert(given.message_id.clone());
                Ok(())
            }
            Err(reason) => Err(queue_failure("send to the dead-letter queue", reason)),
        }
    }

    async fn postpone(&self, given: &queue::Message, delay: Duration) -> Result<(), QueueFailure> {
        let number = number_of(&given.message_id).unwrap_or(usize::MAX);
        let copy = given.message_id.split_once('-').and_then(|(_, copy)| copy.parse().ok());
        let receive = given.receipt_handle.split_once('/').and_then(|(_, at)| at.parse().ok());
        let (Some(copy), Some(receive)) = (copy, receive) else {
            return Err(queue_failure(
                "change the visibility timeout",
                CallFailure::RequestRejected,
            ));
        };
        let effect = Effect::Postpone(number, copy, receive, delay);
        let called = self.call(Place::Postpone, &given.message_id, effect).await;
        called.map(drop).map_err(|reason| queue_failure("change the visibility timeout", reason))
    }
}
