//! Every outcome of a record, its durable effects and its acknowledgement, against a table and queues
//! that fail as they are told.

#![expect(clippy::unwrap_used, reason = "a test may stop at whatever it does not expect")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lambda_events::sqs::SqsEvent;
use function::batch::{MissingMessageId, Outcome as _};
use function::dead_letter::{DeadLetter, DeadReason, FunctionFailure};
use function::failure::CallFailure;
use function::invocation::Invocation;
use function::queue::{Message, Queue, QueueFailure};
use function::settings::Settings;
use schema::payment::Payment;
use schema::refusal::Refusal;
use serde_json::{Value, json};
use submit_payments::batch::{self, Report};
use submit_payments::config::Config;
use submit_payments::edges::Edges;
use submit_payments::outcome::Outcome;
use tables::failure::Operation;
use tables::item::{of_payment, read_payment};
use tables::{Failure, Kind, PaymentItem, Put, Record, Submission};

const USER: &str = "5f2c8d34-1b7e-4e0a-8c55-90d1e2f3a4b5";
const OTHER_USER: &str = "6f2c8d34-1b7e-4e0a-8c55-90d1e2f3a4b5";
const NOW_MS: i64 = 1_790_000_000_000;
const LEFT: Duration = Duration::from_secs(15);

/// A table and queues in memory.
#[derive(Default)]
struct World {
    payments: Mutex<BTreeMap<(String, String), PaymentItem>>,
    records: Mutex<Vec<Record>>,
    dead_letters: Mutex<Vec<(String, DeadLetter)>>,
    postponed: Mutex<Vec<(String, Duration)>>,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
    faults: Faults,
    /// A currency that this version of the function takes no longer.
    taken_out: Option<&'static str>,
}

/// What fails.
#[derive(Default)]
struct Faults {
    put: Option<CallFailure>,
    put_takes: Duration,
    put_panics_for: Option<String>,
    reply_is_lost: bool,
    read: bool,
    record: bool,
    dead_letter: bool,
    dead_letter_takes: Duration,
    dead_letter_panics: bool,
    postpone: bool,
}

impl Edges for World {
    fn parse(&self, body: &str, accepted_at_ms: i64) -> Result<Payment, Refusal> {
        match self.taken_out {
            Some(currency) if body.contains(currency) => {
                Err(Refusal::Invalid { field: "currency".to_owned(), rule: "is taken out" })
            }
            _ => Payment::parse(body, accepted_at_ms),
        }
    }

    async fn put_payment(
        &self,
        payment: &Payment,
        submission: &Submission,
        _: i64,
    ) -> Result<Put, Failure> {
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.in_flight_max.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(self.faults.put_takes).await;
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        let id = payment.payment_id().as_str();
        assert!(self.faults.put_panics_for.as_deref() != Some(id), "told to panic");
        if let Some(reason) = self.faults.put {
            return Err(failure(Operation::PutPayment, reason));
        }
        let key = (id.to_owned(), payment.user_id().as_str().to_owned());
        let mut payments = self.payments.lock().unwrap();
        if let Some(stored) = payments.get(&key) {
            return Ok(Put::Exists(stored.clone()));
        }
        let item = of_payment(payment, submission, NOW_MS);
        payments.insert(key, read_payment(item).unwrap());
        match self.faults.reply_is_lost {
            true => Err(failure(Operation::PutPayment, CallFailure::TimedOut)),
            false => Ok(Put::Stored),
        }
    }

    async fn stored_payment(
        &self,
        user_id: &str,
        payment_id: &str,
    ) -> Result<Option<PaymentItem>, Failure> {
        if self.faults.read {
            return Err(failure(Operation::ReadPayment, CallFailure::Throttled));
        }
        let key = (payment_id.to_owned(), user_id.to_owned());
        Ok(self.payments.lock().unwrap().get(&key).cloned())
    }

    async fn record(&self, record: &Record) -> Result<(), Failure> {
        if self.faults.record {
            return Err(failure(Operation::RecordRefusal, CallFailure::Throttled));
        }
        self.records.lock().unwrap().push(record.clone());
        Ok(())
    }
}

impl Queue for World {
    async fn send_dead_letter(
        &self,
        message: &Message,
        dead_letter: &DeadLetter,
    ) -> Result<(), QueueFailure> {
        assert!(!self.faults.dead_letter_panics, "told to panic");
        tokio::time::sleep(self.faults.dead_letter_takes).await;
        if self.faults.dead_letter {
            return Err(QueueFailure { attempted: "send", code: "told to fail".to_owned() });
        }
        self.dead_letters.lock().unwrap().push((message.body.clone(), dead_letter.clone()));
        Ok(())
    }

    async fn postpone(&self, message: &Message, delay: Duration) -> Result<(), QueueFailure> {
        if self.faults.postpone {
            return Err(QueueFailure { attempted: "postpone", code: "told to fail".to_owned() });
        }
        self.postponed.lock().unwrap().push((message.message_id.clone(), delay));
        Ok(())
    }
}

fn failure(operation: Operation, cause: CallFailure) -> Failure {
    Failure { operation, cause, code: None }
}

fn failing(faults: Faults) -> World {
    World { faults, ..World::default() }
}

fn config() -> Config {
    Config {
        payments_table: "PaymentsTable".to_owned(),
        refusals_table: "RefusalsTable".to_owned(),
        batch: Settings {
            queue_url: "queue".to_owned(),
            dead_letter_queue_url: "dead-letter-queue".to_owned(),
            receive_count_max: 5,
            retry_delay: Duration::from_secs(30),
            concurrency: 4,
            deadline_margin: Duration::from_secs(3),
        },
    }
}

fn payment_id(number: usize) -> String {
    format!("0b9f6a1e-6c1d-4a57-9f0e-{number:012}")
}

fn body(number: usize) -> String {
    json!({
        "paymentId": payment_id(number), "userId": USER, "amount": "10.50", "currency": "GBP",
        "description": format!("payment {number}"),
    })
    .to_string()
}

/// A record as the queue delivers it, submitted by [`USER`] in the request `r-<message id>`.
fn message(id: &str, body: &str) -> Value {
    let text = |value: String| json!({ "stringValue": value, "dataType": "String" });
    json!({
        "messageId": id, "receiptHandle": format!("handle-{id}"), "body": body,
        // Stands for the MD5: equal bodies have equal ones.
        "md5OfBody": format!("of {body}"),
        "attributes": { "ApproximateReceiveCount": "1", "SentTimestamp": "1789999999000" },
        "messageAttributes": {
            "sub": text(USER.to_owned()),
            "requestId": text(format!("r-{id}")),
            "acceptedAt": text("1789999999500".to_owned()),
            "schemaVersion": text("1".to_owned()),
        },
    })
}

fn received(mut message: Value, times: u32) -> Value {
    message["attributes"]["ApproximateReceiveCount"] = json!(times.to_string());
    message
}

fn with_attribute(mut message: Value, name: &str, value: &str) -> Value {
    message["messageAttributes"][name] = json!({ "stringValue": value, "dataType": "String" });
    message
}

async fn run(world: &World, messages: Vec<Value>) -> Report {
    let event: SqsEvent = serde_json::from_value(json!({ "Records": messages })).unwrap();
    let invocation = Invocation::new(NOW_MS, LEFT, "7".to_owned());
    batch::process(&config(), world, &invocation, event).await.unwrap()
}

async fn outcome(world: &World, message: Value) -> Outcome {
    let mut report = run(world, vec![message]).await;
    assert_eq!(report.messages.len(), 1);
    report.messages.remove(0).outcome
}

fn bytes(report: &Report) -> String {
    serde_json::to_string(&report.response()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_new_payment_is_stored_and_acknowledged() {
    let world = World::default();
    let report = run(&world, vec![message("m", &body(1))]).await;
    assert_eq!(report.messages[0].outcome, Outcome::Stored);
    assert_eq!(report.messages[0].since_accepted_ms, 500);
    assert_eq!(bytes(&report), r#"{"batchItemFailures":[]}"#);
    assert_eq!(world.payments.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_delivery_is_stored_and_another_request_is_a_duplicate() {
    let world = World::default();
    for (id, expected) in
        [("m", Outcome::Stored), ("m", Outcome::Stored), ("n", Outcome::Duplicate)]
    {
        assert_eq!(outcome(&world, message(id, &body(1))).await, expected);
    }
    assert_eq!(world.payments.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn another_spelling_of_the_same_payment_is_a_duplicate() {
    let world = World::default();
    outcome(&world, message("m", &body(1))).await;
    let respelled = body(1).replace("10.50", "10.5").replace(',', " ,\n");
    assert_eq!(outcome(&world, message("n", &respelled)).await, Outcome::Duplicate);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_is_on_record_with_its_body_only_where_the_bytes_differ() {
    let respelled = body(1).replace("10.50", "10.5");
    for (body_of_repetition, kept) in [(body(1), None), (respelled.clone(), Some(respelled))] {
        let world = World::default();
        outcome(&world, message("m", &body(1))).await;
        outcome(&world, message("m", &body(1))).await;
        assert!(world.records.lock().unwrap().is_empty(), "a replay is no duplicate");
        outcome(&world, message("n", &body_of_repetition)).await;
        let record = &world.records.lock().unwrap()[0];
        assert_eq!((record.kind, &*record.reason), (Kind::Duplicate, "duplicate"));
        assert_eq!(record.payment_and_request, format!("{}#r-n", payment_id(1)));
        assert_eq!(record.body, kept);
    }
    // Until that is on record, the message stays on the queue.
    let world = failing(Faults { record: true, ..Faults::default() });
    outcome(&world, message("m", &body(1))).await;
    let unrecorded = outcome(&world, message("n", &body(1))).await;
    assert_eq!(unrecorded, Outcome::Retry(DeadReason::Call(CallFailure::Throttled)));
}

#[tokio::test(start_paused = true)]
async fn a_stricter_rule_does_not_judge_what_is_stored() {
    let mut world = World::default();
    outcome(&world, message("m", &body(1))).await;
    world.taken_out = Some("GBP");
    let respelled = body(1).replace("10.50", "10.5");
    let other = body(1).replace("10.50", "10.51");
    for (id, body, name) in [
        ("m", &body(1), "stored"),
        ("n", &body(1), "duplicate"),
        ("o", &respelled, "duplicate"),
        ("p", &other, "refused"),
        ("q", &body(2), "refused"),
    ] {
        assert_eq!(outcome(&world, message(id, body)).await.name(), name, "{id}");
    }
    let reasons: Vec<String> =
        world.records.lock().unwrap().iter().map(|record| record.reason.clone()).collect();
    assert_eq!(reasons, ["duplicate", "duplicate", "invalid", "invalid"]);
    // Where the table cannot be asked, nothing is decided.
    world.faults.read = true;
    let unknown = outcome(&world, message("r", &body(1))).await;
    assert_eq!(unknown, Outcome::Retry(DeadReason::Call(CallFailure::Throttled)));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_read_any_more_is_the_stored_one_by_its_request() {
    let world = World::default();
    outcome(&world, message("m", &body(1))).await;
    let unreadable = body(1).replace('{', r#"{"twice":1,"twice":2,"#);
    for (id, name) in [("m", "stored"), ("n", "refused")] {
        assert_eq!(outcome(&world, message(id, &unreadable)).await.name(), name, "{id}");
    }
    let record = &world.records.lock().unwrap()[0];
    assert_eq!(record.payment_and_request, format!("{}#r-n", payment_id(1)), "found by its id");
}

#[tokio::test(start_paused = true)]
async fn a_held_record_bears_the_moment_of_the_death_and_not_of_its_writing() {
    let put = Some(CallFailure::Full);
    let dead_letter_takes = Duration::from_secs(1);
    let world = failing(Faults { put, dead_letter_takes, ..Faults::default() });
    outcome(&world, message("m", &body(1))).await;
    let (_, dead_letter) = world.dead_letters.lock().unwrap()[0].clone();
    // An operator who discards the letter meanwhile does so later, and is not overruled.
    assert_eq!(world.records.lock().unwrap()[0].recorded_at, dead_letter.at);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_an_unknown_kind_waits_for_a_newer_version() {
    let world = World::default();
    let refund = with_attribute(message("m", "{}"), "kind", "refund");
    let waiting = outcome(&world, refund.clone()).await;
    assert_eq!(waiting, Outcome::Retry(DeadReason::UnknownKind));
    let dead = run(&world, vec![received(refund, 5)]).await;
    assert_eq!(dead.messages[0].outcome, Outcome::Dead(DeadReason::UnknownKind));
    assert!(world.records.lock().unwrap().iter().all(|record| record.kind == Kind::Held));
    let payment = with_attribute(message("n", &body(1)), "kind", "payment");
    assert_eq!(outcome(&world, payment).await, Outcome::Stored);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_refused_on_record_and_the_first_payment_stays() {
    let world = World::default();
    outcome(&world, message("m", &body(1))).await;
    let before = world.payments.lock().unwrap().clone();
    let other = body(1).replace("10.50", "10.51");
    for id in ["n", "m"] {
        let fields = vec!["amount".to_owned()];
        let refused = outcome(&world, message(id, &other)).await;
        assert_eq!(refused, Outcome::Refused(Refusal::Conflict { fields }));
    }
    assert!(*world.payments.lock().unwrap() == before);
    let record = &world.records.lock().unwrap()[0];
    assert_eq!((record.kind, record.reason.as_str()), (Kind::Refused, "conflict"));
    assert_eq!(record.fields, ["amount"]);
    assert_eq!(record.payment_and_request, format!("{}#r-n", payment_id(1)));
    assert_eq!(record.body.as_ref(), Some(&other));
}

#[tokio::test(start_paused = true)]
async fn a_payment_for_somebody_else_is_refused_under_the_subject() {
    let world = World::default();
    let message = with_attribute(message("m", &body(1)), "sub", OTHER_USER);
    assert_eq!(outcome(&world, message).await, Outcome::Refused(Refusal::OwnerMismatch));
    assert!(world.payments.lock().unwrap().is_empty());
    assert_eq!(world.records.lock().unwrap()[0].user_id, OTHER_USER);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_payment_is_refused_on_record() {
    for (body, reason, key) in [
        (String::new(), "malformed", "-#r-m".to_owned()),
        ("[1]".to_owned(), "malformed", "-#r-m".to_owned()),
        (body(1).replace("GBP", "XXX"), "invalid", format!("{}#r-m", payment_id(1))),
        (body(1).replace("10.50", "0"), "invalid", format!("{}#r-m", payment_id(1))),
    ] {
        let world = World::default();
        let refused = outcome(&world, message("m", &body)).await;
        assert_eq!((refused.name(), refused.reason()), ("refused", Some(reason)), "{body}");
        let record = &world.records.lock().unwrap()[0];
        assert_eq!((record.user_id.as_str(), record.payment_and_request.as_str()), (USER, &*key));
        assert_eq!(record.body, Some(body));
        assert!(world.payments.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_without_a_verified_subject_dies_at_once() {
    for sub in [None, Some("")] {
        let world = World::default();
        let mut message = message("m", &body(1));
        match sub {
            Some(sub) => message = with_attribute(message, "sub", sub),
            None => drop(message["messageAttributes"].as_object_mut().unwrap().remove("sub")),
        }
        assert_eq!(outcome(&world, message).await, Outcome::Dead(DeadReason::Unverified));
        let (dead_body, dead_letter) = world.dead_letters.lock().unwrap()[0].clone();
        assert_eq!(dead_body, body(1));
        assert_eq!((dead_letter.reason, dead_letter.receive_count), (DeadReason::Unverified, 1));
        assert!(world.records.lock().unwrap().is_empty());
        assert!(world.payments.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_passing_failure_is_retried_after_a_growing_delay() {
    for (times, longest) in [(1, 30), (2, 120), (3, 480), (4, 900)] {
        let world = failing(Faults { put: Some(CallFailure::Throttled), ..Faults::default() });
        let report = run(&world, vec![received(message("m", &body(1)), times)]).await;
        assert_eq!(
            report.messages[0].outcome,
            Outcome::Retry(DeadReason::Call(CallFailure::Throttled))
        );
        assert_eq!(bytes(&report), r#"{"batchItemFailures":[{"itemIdentifier":"m"}]}"#);
        let (id, delay) = world.postponed.lock().unwrap()[0].clone();
        let (shortest, longest) = (longest * 4 / 5, longest);
        assert_eq!(id, "m");
        assert!((shortest..=longest).contains(&delay.as_secs()), "{times}: {delay:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_delay_does_not_round_to_none() {
    let mut second = config();
    second.batch.retry_delay = Duration::from_secs(1);
    let world = failing(Faults { put: Some(CallFailure::Throttled), ..Faults::default() });
    let messages: Vec<Value> = (0..20).map(|id| message(&id.to_string(), &body(id))).collect();
    let event: SqsEvent = serde_json::from_value(json!({ "Records": messages })).unwrap();
    let invocation = Invocation::new(NOW_MS, LEFT, "7".to_owned());
    batch::process(&second, &world, &invocation, event).await.unwrap();
    let postponed = world.postponed.lock().unwrap();
    let delays: BTreeSet<u64> = postponed.iter().map(|(_, delay)| delay.as_secs()).collect();
    assert_eq!((postponed.len(), delays), (20, BTreeSet::from([1])));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_failed_together_does_not_return_together() {
    let world = failing(Faults { put: Some(CallFailure::Throttled), ..Faults::default() });
    let messages = (0..100).map(|number| message(&number.to_string(), &body(number))).collect();
    run(&world, messages).await;
    let postponed = world.postponed.lock().unwrap();
    let delays: BTreeSet<u64> = postponed.iter().map(|(_, delay)| delay.as_secs()).collect();
    assert_eq!(delays, (25..=30).collect());
}

#[tokio::test(start_paused = true)]
async fn every_failure_that_may_pass_is_retried_until_the_last_receive() {
    for failure in CallFailure::ALL.into_iter().filter(|failure| failure.may_pass()) {
        let reason = DeadReason::Call(failure);
        let world = failing(Faults { put: Some(failure), ..Faults::default() });
        for times in 1..5 {
            let retried = outcome(&world, received(message("m", &body(1)), times)).await;
            assert_eq!(retried, Outcome::Retry(reason));
        }
        assert!(world.dead_letters.lock().unwrap().is_empty());
        let dead = outcome(&world, received(message("m", &body(1)), 5)).await;
        assert_eq!(dead, Outcome::Dead(reason));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_cannot_pass_dies_at_once() {
    let world = failing(Faults { put: Some(CallFailure::Full), ..Faults::default() });
    let dead = outcome(&world, message("m", &body(1))).await;
    assert_eq!(dead, Outcome::Dead(DeadReason::Call(CallFailure::Full)));
}

#[tokio::test(start_paused = true)]
async fn the_last_receive_ends_in_the_dead_letter_queue_and_a_held_record() {
    for times in [5, 6] {
        let world = failing(Faults { put: Some(CallFailure::NotFound), ..Faults::default() });
        let report = run(&world, vec![received(message("m", &body(1)), times)]).await;
        assert_eq!(bytes(&report), r#"{"batchItemFailures":[]}"#);
        let (dead_body, dead_letter) = world.dead_letters.lock().unwrap()[0].clone();
        assert_eq!(dead_body, body(1));
        let expected = DeadLetter {
            reason: DeadReason::Call(CallFailure::NotFound),
            detail: "put payment: table_not_found".to_owned(),
            original_message_id: "m".to_owned(),
            receive_count: times,
            function_version: "7".to_owned(),
            at: "2026-09-21T14:13:20.000Z".to_owned(),
            redrive_count: 0,
        };
        assert_eq!(dead_letter, expected);
        let record = &world.records.lock().unwrap()[0];
        assert_eq!((record.kind, record.reason.as_str()), (Kind::Held, "table_not_found"));
        assert!(world.postponed.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_redriven_message_keeps_its_first_id_and_its_count() {
    let world = failing(Faults { put: Some(CallFailure::Throttled), ..Faults::default() });
    let before = DeadLetter {
        reason: DeadReason::Call(CallFailure::Unavailable),
        detail: String::new(),
        original_message_id: "first".to_owned(),
        receive_count: 5,
        function_version: "6".to_owned(),
        at: "2026-09-20T00:00:00.000Z".to_owned(),
        redrive_count: 2,
    };
    let redriven = with_attribute(message("m", &body(1)), "deadLetter", &before.to_json());
    outcome(&world, received(redriven, 5)).await;
    let (_, dead_letter) = world.dead_letters.lock().unwrap()[0].clone();
    assert_eq!(dead_letter.original_message_id, "first");
    assert_eq!(
        (dead_letter.redrive_count, dead_letter.reason),
        (2, DeadReason::Call(CallFailure::Throttled))
    );
}

#[tokio::test(start_paused = true)]
async fn a_redriven_message_without_a_request_is_on_record_under_its_first_id() {
    let world = World::default();
    let note = r#"{"reason":"unknown","detail":"","originalMessageId":"first","receiveCount":6,
        "functionVersion":"-","at":"2026-09-20T00:00:00.000Z","redriveCount":1}"#;
    // Sent back twice, under two ids: both are one request.
    for id in ["second", "third"] {
        let mut redriven = with_attribute(message(id, "no payment"), "deadLetter", note);
        redriven["messageAttributes"].as_object_mut().unwrap().remove("requestId");
        assert!(matches!(outcome(&world, redriven).await, Outcome::Refused(_)));
    }
    let records = world.records.lock().unwrap();
    let keys = records.iter().map(|record| record.payment_and_request.as_str());
    assert_eq!(keys.collect::<Vec<_>>(), ["-#first", "-#first"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_before_its_effect_is_durable() {
    let no_sub = with_attribute(message("m", &body(1)), "sub", "");
    let last = received(message("m", &body(1)), 5);
    let throttled = || Some(CallFailure::Throttled);
    for (faults, message, expected) in [
        (
            Faults { record: true, ..Faults::default() },
            message("m", "[]"),
            DeadReason::Call(CallFailure::Throttled),
        ),
        (Faults { dead_letter: true, ..Faults::default() }, no_sub.clone(), DeadReason::Unverified),
        (Faults { dead_letter_panics: true, ..Faults::default() }, no_sub, DeadReason::Unverified),
        (
            Faults { put: throttled(), dead_letter: true, ..Faults::default() },
            last,
            DeadReason::Call(CallFailure::Throttled),
        ),
    ] {
        let world = failing(faults);
        let report = run(&world, vec![message]).await;
        assert_eq!(report.messages[0].outcome, Outcome::Retry(expected));
        assert_eq!(bytes(&report), r#"{"batchItemFailures":[{"itemIdentifier":"m"}]}"#);
    }
}

#[tokio::test(start_paused = true)]
async fn what_only_informs_may_fail() {
    let put = Some(CallFailure::Throttled);
    let world = failing(Faults { put, record: true, ..Faults::default() });
    let dead = outcome(&world, received(message("m", &body(1)), 5)).await;
    assert_eq!(dead, Outcome::Dead(DeadReason::Call(CallFailure::Throttled)));
    let world = failing(Faults { put, postpone: true, ..Faults::default() });
    let retried = outcome(&world, message("m", &body(1))).await;
    assert_eq!(retried, Outcome::Retry(DeadReason::Call(CallFailure::Throttled)));
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_is_found_stored_by_the_next_delivery() {
    let mut world = failing(Faults { reply_is_lost: true, ..Faults::default() });
    let lost = outcome(&world, message("m", &body(1))).await;
    assert_eq!(lost, Outcome::Retry(DeadReason::Call(CallFailure::TimedOut)));
    world.faults = Faults::default();
    assert_eq!(outcome(&world, received(message("m", &body(1)), 2)).await, Outcome::Stored);
    assert_eq!(world.payments.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_bad_record_does_not_touch_its_neighbours() {
    let put_panics_for = Some(payment_id(3));
    let world = failing(Faults { put_panics_for, ..Faults::default() });
    let mut messages: Vec<Value> =
        (0..10).map(|number| message(&number.to_string(), &body(number))).collect();
    messages[5] = message("5", "{");
    messages[7] = with_attribute(message("7", &body(7)), "sub", "");
    let report = run(&world, messages).await;
    assert_eq!(bytes(&report), r#"{"batchItemFailures":[{"itemIdentifier":"3"}]}"#);
    assert_eq!(world.payments.lock().unwrap().len(), 7);
    assert_eq!(world.records.lock().unwrap().len(), 1);
    assert_eq!(world.dead_letters.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_always_panics_dies_with_that_reason() {
    let put_panics_for = Some(payment_id(1));
    let world = failing(Faults { put_panics_for, ..Faults::default() });
    let dead = outcome(&world, received(message("m", &body(1)), 5)).await;
    assert_eq!(dead, Outcome::Dead(DeadReason::Function(FunctionFailure::Panicked)));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_done_before_the_deadline_is_retried() {
    // Four at a time, five seconds each: two rounds fit into the twelve seconds of work.
    let world = failing(Faults { put_takes: Duration::from_secs(5), ..Faults::default() });
    let messages = (0..16).map(|number| message(&number.to_string(), &body(number))).collect();
    let report = run(&world, messages).await;
    let outcomes = report.messages.iter().map(|done| done.outcome.clone());
    let stored = outcomes.clone().filter(|outcome| *outcome == Outcome::Stored).count();
    let late = Outcome::Retry(DeadReason::Function(FunctionFailure::DeadlineExceeded));
    assert_eq!((stored, outcomes.filter(|outcome| *outcome == late).count()), (8, 8));
    assert_eq!(world.postponed.lock().unwrap().len(), 8);
    assert!(world.in_flight_max.load(Ordering::SeqCst) <= 4);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_at_the_last_receive_ends_in_the_dead_letter_queue() {
    let world = failing(Faults { put_takes: Duration::from_secs(60), ..Faults::default() });
    let dead = outcome(&world, received(message("m", &body(1)), 5)).await;
    assert_eq!(dead, Outcome::Dead(DeadReason::Function(FunctionFailure::DeadlineExceeded)));
}

#[tokio::test(start_paused = true)]
async fn an_invocation_without_time_starts_nothing_and_returns_everything() {
    let world = World::default();
    let event: SqsEvent =
        serde_json::from_value(json!({ "Records": [message("m", &body(1))] })).unwrap();
    let invocation = Invocation::new(NOW_MS, Duration::ZERO, "7".to_owned());
    let report = batch::process(&config(), &world, &invocation, event).await.unwrap();
    assert_eq!(bytes(&report), r#"{"batchItemFailures":[{"itemIdentifier":"m"}]}"#);
    assert!(world.payments.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_empty_batch_is_answered_with_an_empty_list() {
    let report = run(&World::default(), Vec::new()).await;
    assert_eq!(bytes(&report), r#"{"batchItemFailures":[]}"#);
}

#[tokio::test(start_paused = true)]
async fn a_record_without_an_id_returns_the_whole_batch_untouched() {
    for id in [Value::Null, json!("")] {
        let world = World::default();
        let mut nameless = message("n", &body(2));
        nameless["messageId"] = id;
        let event: SqsEvent =
            serde_json::from_value(json!({ "Records": [message("m", &body(1)), nameless] }))
                .unwrap();
        let invocation = Invocation::new(NOW_MS, LEFT, "7".to_owned());
        let processed = batch::process(&config(), &world, &invocation, event).await;
        assert_eq!(processed, Err(MissingMessageId));
        assert!(world.payments.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_with_only_a_subject_is_stored_under_its_own_id() {
    let world = World::default();
    let mut bare = message("m", &body(1));
    bare["messageAttributes"] = json!({ "sub": { "stringValue": USER, "dataType": "String" } });
    let report = run(&world, vec![bare]).await;
    assert_eq!(report.messages[0].outcome, Outcome::Stored);
    assert_eq!(report.messages[0].since_accepted_ms, 1_000);
    let payments = world.payments.lock().unwrap();
    let requests: BTreeSet<&str> =
        payments.values().map(|stored| stored.request_id.as_str()).collect();
    assert_eq!(requests, BTreeSet::from(["m"]));
}
