//! Everything that is real to a history: the tables, the queues, what was accepted, what is broken.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use bigdecimal::BigDecimal;
use fastrand::Rng;
use function::failure::CallFailure;
use schema::envelope::attribute;
use tables::item::{Item, read_payment};
use tables::record::Because;
use tables::{Kind, PaymentItem, Put, Record};
use tokio::time::Instant;

use crate::clients::{Class, Key, Submission, request_id};
use crate::faults::{Fault, Place, Rates, Sabotage};
use crate::queue::{Message, Queues, hash_of};
use crate::tally::Tally;

/// When histories begin, in milliseconds since 1970-01-01 UTC.
const BEGINS_MS: i64 = 1_790_000_000_000;

/// A broken invariant, by its number in the README.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant.
    pub invariant: u8,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "invariant {} is broken: {}", self.invariant, self.what)
    }
}

/// What a call is to do to the world.
pub enum Effect {
    /// Store a payment unless one is stored.
    Put(Key, Item),
    /// Read a payment.
    Read(Key),
    /// Record a submission that is not the stored one.
    Record(Box<Record>),
    /// Send a message to the dead-letter queue.
    DeadLetter(Box<Message>),
    /// Hide a message: submission, copy, the receive of its handle, and for how long.
    Postpone(usize, u32, u32, Duration),
}

/// What came of an effect.
pub enum Applied {
    /// Of a put.
    Put(Put),
    /// Of a read.
    Read(Option<PaymentItem>),
    /// Of everything else.
    Done,
}

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It works.
    Works,
    /// It works and the reply is lost.
    ReplyLost,
    /// It takes effect after so long; the caller hears nothing.
    Late(Duration),
    /// It is refused.
    Refused(CallFailure),
    /// It panics.
    Panics,
}

/// One call as it will happen.
pub struct Call {
    /// Time before the effect.
    pub before: Duration,
    /// What becomes of it.
    pub fate: Fate,
    /// Time between the effect and the reply.
    pub after: Duration,
    /// Whether any fault struck.
    pub is_faulty: bool,
}

/// What is wrong with a poison message's put, always.
#[derive(Debug, Clone, Copy)]
enum Poison {
    Panics,
    Hangs,
    Refused(CallFailure),
}

/// The world of one history.
pub struct World {
    /// The only source of chance.
    pub rng: Rng,
    /// How often faults strike now.
    pub rates: Rates,
    /// What is wrong on purpose.
    pub sabotage: Option<Sabotage>,
    /// The queues.
    pub queues: Queues,
    /// The redrive policy's value.
    pub receive_count_max: u32,
    /// Invocations that run.
    pub in_flight: u32,
    /// Whether the history is over: clients, pollers and the operator stop.
    pub is_over: bool,
    /// What was accepted.
    pub accepted: Vec<Submission>,
    /// The table of payments.
    pub payments: BTreeMap<Key, Item>,
    /// The table of the submissions that are not the stored ones.
    pub refusals: BTreeMap<Key, Record>,
    /// Pairs that were ever stored, by which submission, and when.
    pub stored_by: BTreeMap<Key, (usize, Instant)>,
    /// When the function last saw that a pair is not stored.
    pub seen_missing: BTreeMap<Key, Instant>,
    /// The version that refuses payments that the other one takes, if the two have different rules.
    pub strict_version: Option<&'static str>,
    /// Whether both versions run; then only the newer one's rules are left.
    is_canary: bool,
    /// Submissions whose letter was thrown away.
    pub discarded: BTreeSet<usize>,
    /// The last dead letter of each submission that ever had one.
    pub letters: BTreeMap<usize, Message>,
    /// Counts.
    pub tally: Tally,
    /// The first broken invariant.
    pub violation: Option<Violation>,
    /// The log, when one is wanted.
    pub trace: Option<Vec<String>>,
    began: Instant,
    late: Vec<(Instant, Effect)>,
    poison: BTreeMap<usize, Poison>,
}

impl World {
    /// The world of a seed.
    #[must_use]
    pub fn new(seed: u64, sabotage: Option<Sabotage>, is_traced: bool) -> World {
        let mut rng = Rng::with_seed(seed);
        let strict_version = [None, Some("1"), Some("2"), Some("2")][rng.usize(0..4)];
        World {
            rates: Rates::draw(&mut rng),
            receive_count_max: rng.u32(2..=5),
            rng,
            sabotage,
            queues: Queues::default(),
            in_flight: 0,
            is_over: false,
            accepted: Vec::new(),
            payments: BTreeMap::new(),
            refusals: BTreeMap::new(),
            stored_by: BTreeMap::new(),
            seen_missing: BTreeMap::new(),
            strict_version,
            is_canary: true,
            discarded: BTreeSet::new(),
            letters: BTreeMap::new(),
            tally: Tally { histories: 1, ..Tally::default() },
            violation: None,
            trace: is_traced.then(Vec::new),
            began: Instant::now(),
            late: Vec::new(),
            poison: BTreeMap::new(),
        }
    }

    /// Milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        BEGINS_MS + i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX / 2)
    }

    /// Writes a line into the log, when one is wanted.
    pub fn log(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>12.3} s  {}", self.began.elapsed().as_secs_f64(), line()));
        }
    }

    /// Reports a broken invariant; the first one counts and ends the history.
    pub fn broken(&mut self, invariant: u8, what: impl Into<String>) {
        let violation = Violation { invariant, what: what.into() };
        self.log(|| format!("BROKEN {violation}"));
        self.violation.get_or_insert(violation);
        self.is_over = true;
    }

    /// Whether something is wrong on purpose in this way.
    #[must_use]
    pub fn is_sabotaged(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    /// A duration of so many milliseconds.
    pub fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }

    /// Whether a fault strikes now.
    pub fn strikes(&mut self, fault: Fault, place: Place) -> bool {
        let rate = self.rates.of(fault, place);
        let strikes = rate > 0 && self.rng.u32(0..1000) < rate;
        if strikes {
            *self.tally.faults.entry((fault, place)).or_default() += 1;
        }
        strikes
    }

    /// Accepts a submission: it is on the queue from now on.
    pub fn accept(&mut self, submission: Submission) {
        let number = self.accepted.len();
        if self.strikes(Fault::Poison, Place::Elsewhere) {
            let poison = match self.rng.u32(0..3) {
                0 => Poison::Panics,
                1 => Poison::Hangs,
                _ => Poison::Refused(self.error()),
            };
            self.poison.insert(number, poison);
        }
        let message = Message {
            submission: number,
            copy: self.queues.next_copy(number),
            body: submission.body.clone(),
            attributes: submission.attributes.clone(),
            trace_header: submission.trace_header.clone(),
            receive_count: 0,
            visible_at: Instant::now(),
        };
        self.log(|| format!("accepted {} {:?}: {}", message.id(), submission.class, message.body));
        self.queues.send(message);
        self.accepted.push(submission);
        self.tally.messages += 1;
    }

    /// Whether a version of the function has the stricter rules.
    #[must_use]
    pub fn is_strict(&self, version: &str) -> bool {
        self.strict_version == Some(if self.is_canary { version } else { "2" })
    }

    /// Ends all faults, and the canary.
    pub fn calm_down(&mut self) {
        self.log(|| "faults stop".to_owned());
        self.is_canary = false;
        self.rates = Rates::calm();
        self.poison.clear();
    }

    /// One of the errors that a table answers.
    fn error(&mut self) -> CallFailure {
        CallFailure::ALL[self.rng.usize(0..CallFailure::ALL.len())]
    }

    /// How a call about a submission will go.
    pub fn call(&mut self, place: Place, submission: usize) -> Call {
        let mut call = Call {
            before: self.millis(1..30),
            fate: Fate::Works,
            after: self.millis(1..30),
            is_faulty: false,
        };
        let poison = self.poison.get(&submission).filter(|_| place == Place::Put).copied();
        call.fate = match poison {
            Some(Poison::Panics) => Fate::Panics,
            Some(Poison::Refused(reason)) => Fate::Refused(reason),
            Some(Poison::Hangs) => Fate::Late(Duration::from_secs(60)),
            None if self.strikes(Fault::Panic, place) => Fate::Panics,
            None if self.strikes(Fault::Refused, place) => Fate::Refused(self.error()),
            None if self.strikes(Fault::ReplyLost, place) => Fate::ReplyLost,
            None if self.strikes(Fault::Late, place) => Fate::Late(self.millis(100..600_000)),
            None => Fate::Works,
        };
        call.is_faulty = call.fate != Fate::Works;
        if poison.is_some_and(|poison| matches!(poison, Poison::Hangs))
            || self.strikes(Fault::Slow, place)
        {
            call.is_faulty = true;
            let slow = self.millis(2_000..40_000);
            *(if self.rng.bool() { &mut call.before } else { &mut call.after }) += slow;
        }
        call
    }

    /// Applies an effect after so long, whoever still waits for it.
    pub fn apply_later(&mut self, delay: Duration, effect: Effect) {
        self.late.push((Instant::now() + delay, effect));
    }

    /// Applies the late effects whose time has come; whether more will come.
    pub fn apply_late(&mut self) -> bool {
        let now = Instant::now();
        while let Some(index) = self.late.iter().position(|(at, _)| *at <= now) {
            let (_, effect) = self.late.remove(index);
            self.log(|| "an effect comes late:".to_owned());
            self.apply_now(effect);
        }
        !self.late.is_empty()
    }

    /// Applies an effect.
    pub fn apply(&mut self, effect: Effect) -> Applied {
        self.apply_late();
        self.apply_now(effect)
    }

    fn apply_now(&mut self, effect: Effect) -> Applied {
        match effect {
            Effect::Put(key, item) => return Applied::Put(self.put(key, item)),
            Effect::Read(key) => return Applied::Read(self.read(key)),
            Effect::Record(record) => self.record(*record),
            Effect::DeadLetter(message) => self.dead_letter(*message),
            Effect::Postpone(submission, copy, receive, delay) => {
                self.postpone(submission, copy, receive, delay);
            }
        }
        Applied::Done
    }

    fn put(&mut self, mut key: Key, mut item: Item) -> Put {
        if self.is_sabotaged(Sabotage::KeyTooWide) {
            key.1 += item["_requestId"].as_s().map_or("", String::as_str);
        }
        if self.is_sabotaged(Sabotage::OtherUserStored) {
            item.insert("userId".to_owned(), AttributeValue::S("somebody".to_owned()));
        }
        if self.is_sabotaged(Sabotage::PropertyDropped) {
            item.remove("extra");
        }
        let is_conditional = !self.is_sabotaged(Sabotage::UnconditionalPut);
        if let Some(stored) = self.payments.get(&key).filter(|_| is_conditional) {
            let stored = read_payment(stored.clone()).expect("the function wrote the item");
            self.log(|| format!("put {}: exists, by {}", key.0, stored.request_id));
            return Put::Exists(stored);
        }
        item.values_mut().for_each(normalise);
        self.log(|| format!("put {}: stored, by {:?}", key.0, item["_requestId"]));
        self.check_stored(&key, &item);
        self.payments.insert(key, item);
        Put::Stored
    }

    fn read(&mut self, key: Key) -> Option<PaymentItem> {
        let item = self.payments.get(&key).cloned();
        let item = item.map(|item| read_payment(item).expect("the function wrote the item"));
        self.log(|| format!("read {}: stored {}", key.0, item.is_some()));
        if item.is_none() {
            self.seen_missing.insert(key, Instant::now());
        }
        item
    }

    fn record(&mut self, mut record: Record) {
        if self.is_sabotaged(Sabotage::FiledUnderNothing) && record.reason == "malformed" {
            record.payment_and_request = format!("-#{}", record.request_id);
        }
        let key = (record.user_id.clone(), record.payment_and_request.clone());
        let replaces_refusal =
            record.kind == Kind::Held && self.is_sabotaged(Sabotage::HeldReplacesRefusal);
        let known = self.refusals.get(&key);
        let writes = match (known.map(|known| known.kind), record.kind) {
            (Some(Kind::Discarded), Kind::Held) => {
                known.is_some_and(|known| known.recorded_at < record.recorded_at)
            }
            (None | Some(Kind::Held | Kind::Discarded), _) => true,
            (Some(Kind::Refused | Kind::Duplicate), _) => replaces_refusal,
        };
        self.log(|| format!("record {record:?}: {}", if writes { "written" } else { "exists" }));
        if self.is_sabotaged(Sabotage::RefusedAgain) {
            let again = format!("{}#{}", key.1, self.tally.invocations);
            self.refusals.insert((key.0.clone(), again), record.clone());
        }
        self.check_recorded(&record);
        if writes {
            self.refusals.insert(key, record);
        }
    }

    fn dead_letter(&mut self, mut message: Message) {
        if self.is_sabotaged(Sabotage::DeadLetterRewritten) {
            message.body = message.body.replace(", ", ",");
        }
        if self.is_sabotaged(Sabotage::AttributeDropped) {
            message.attributes.remove(attribute::ACCEPTED_AT);
        }
        if self.is_sabotaged(Sabotage::ReasonMissing) {
            message.attributes.remove(attribute::DEAD_LETTER);
        }
        message.copy = self.queues.next_copy(message.submission);
        let reason = message.attributes.get(attribute::DEAD_LETTER).cloned();
        self.log(|| format!("dead letter {}: {}", message.id(), reason.unwrap_or_default()));
        self.check_dead_letter(&message);
        self.die(message);
    }

    fn die(&mut self, message: Message) {
        self.letters.insert(message.submission, message.clone());
        self.queues.dead.push(message);
    }

    fn postpone(&mut self, submission: usize, copy: u32, receive: u32, mut delay: Duration) {
        if delay > Duration::from_secs(15 * 60) {
            self.broken(13, format!("postponed by {delay:?}"));
        }
        if self.is_sabotaged(Sabotage::PostponedForever) {
            delay = Duration::from_secs(30 * 24 * 60 * 60);
        }
        // Whether a handle still works after a later receive is the queue's business.
        let is_obeyed = self.rng.bool();
        if let Some(message) = self.queues.main.get_mut(&(submission, copy))
            && (message.receive_count == receive || is_obeyed)
        {
            message.visible_at = Instant::now() + delay;
        }
        self.log(|| format!("postpone m{submission}-{copy} by {} s", delay.as_secs()));
    }

    /// Receives a batch: any messages, in any order. What was received too often dies instead.
    pub fn receive(&mut self, visibility: Duration) -> Vec<Message> {
        let now = Instant::now();
        let mut visible = self.queues.visible(now);
        self.rng.shuffle(&mut visible);
        visible.truncate(if self.rng.u32(0..5) == 0 { 40 } else { self.rng.usize(1..=10) });
        let mut batch = Vec::new();
        for key in visible {
            let throttled = self.strikes(Fault::ReceiveThrottled, Place::Elsewhere);
            let visible_at = if self.strikes(Fault::Duplicate, Place::Elsewhere) {
                now
            } else if self.strikes(Fault::EarlyRedelivery, Place::Elsewhere) {
                now + self.millis(1..5_000)
            } else {
                now + visibility
            };
            let message = self.queues.main.get_mut(&key).expect("it was visible a moment ago");
            message.receive_count += 1;
            message.visible_at = visible_at;
            let message = message.clone();
            if message.receive_count > self.receive_count_max {
                self.move_to_dead(key, message);
            } else if throttled {
                self.log(|| format!("a receive of {} reaches nobody", message.id()));
            } else {
                batch.push(message);
            }
        }
        batch
    }

    fn move_to_dead(&mut self, key: (usize, u32), message: Message) {
        self.log(|| format!("the queue moves {} to the dead-letter queue", message.id()));
        self.queues.main.remove(&key);
        *self.tally.outcomes.entry(("moved by the queue", "")).or_default() += 1;
        if !self.is_sabotaged(Sabotage::QueueForgets) {
            self.die(message);
        }
        self.check_accounted(key.0);
    }

    /// Deletes a message as the handle of one of its receives asks.
    pub fn acknowledge(&mut self, delivered: &Message) {
        let key = (delivered.submission, delivered.copy);
        let current = self.queues.main.get(&key).map(|message| message.receive_count);
        let is_stale = current != Some(delivered.receive_count);
        let is_ignored = is_stale && self.rng.bool();
        if self.strikes(Fault::AcknowledgementLost, Place::Elsewhere) || is_ignored {
            self.log(|| format!("the acknowledgement of {} is lost", delivered.id()));
            return;
        }
        self.queues.main.remove(&key);
        self.check_accounted(delivered.submission);
    }

    /// Sends a dead letter back to the queue.
    pub fn redrive(&mut self, letter: &Message) {
        let copy = self.queues.next_copy(letter.submission);
        let message = letter.redriven(copy, Instant::now());
        self.log(|| format!("re-drive {} as {}", letter.id(), message.id()));
        self.queues.send(message);
    }

    /// Sends every letter that ever was back to the queue, so many times.
    pub fn redrive_all(&mut self, times: usize) {
        self.queues.dead.clear();
        self.discarded.clear();
        for letter in self.letters.clone().into_values() {
            for _ in 0..times {
                self.redrive(&letter);
            }
        }
    }

    /// Throws a dead letter away, as the operator's tool does: first the record, then the letter.
    pub fn discard(&mut self, letter: &Message) {
        let number = letter.submission;
        self.log(|| format!("discard {}", letter.id()));
        self.discarded.insert(number);
        let Submission { sub, body, class, .. } = &self.accepted[number];
        let payment_id = match class {
            Class::Payment((id, _), _) => Some(id.as_str()),
            Class::Refused(id, _) => id.as_deref(),
            Class::Unverified => return,
        };
        let because = Because {
            kind: Kind::Discarded,
            reason: "by_operator",
            message: "discarded".to_owned(),
            fields: Vec::new(),
        };
        let submission = tables::Submission {
            request_id: request_id(number),
            message_id: letter.id(),
            accepted_at_ms: 0,
            body_md5: hash_of(body),
            schema_version: 1,
        };
        let sub = sub.as_deref().unwrap_or_default();
        let now_ms = self.now_ms();
        let record = Record::new(sub, payment_id, &submission, Some(body), because, now_ms);
        if !self.is_sabotaged(Sabotage::DiscardedUnsaid) {
            self.record(record);
        }
        self.check_accounted(number);
    }

    /// Submissions of a payment.
    #[must_use]
    pub fn submissions_of(&self, key: &Key) -> Vec<usize> {
        let is_of = |submission: &Submission| match &submission.class {
            Class::Payment(payment, _) => payment == key,
            Class::Refused(id, _) => {
                id.as_ref() == Some(&key.0) && submission.sub.as_ref() == Some(&key.1)
            }
            Class::Unverified => false,
        };
        (0..self.accepted.len()).filter(|number| is_of(&self.accepted[*number])).collect()
    }

    /// Submissions that wait on the dead-letter queue.
    #[must_use]
    pub fn dead(&self) -> BTreeSet<usize> {
        self.queues.dead.iter().map(|message| message.submission).collect()
    }
}

/// DynamoDB returns a number by its value, not in the spelling in which it was written.
fn normalise(value: &mut AttributeValue) {
    match value {
        AttributeValue::N(text) => {
            if let Ok(number) = text.parse::<BigDecimal>() {
                *text = number.normalized().to_plain_string();
            }
        }
        AttributeValue::M(members) => members.values_mut().for_each(normalise),
        AttributeValue::L(items) => items.iter_mut().for_each(normalise),
        _ => {}
    }
}
