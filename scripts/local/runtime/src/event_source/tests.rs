use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lambda_events::sqs::SqsEvent;
use queue::{AttributeValue, MessageAttribute, Received};
use tokio::sync::{Notify, mpsc};

use super::response::BadResponse;
use super::settings::WINDOW_MAX;
use super::*;

const ARN: &str = "arn:aws:sqs:us-east-1:000000000000:submit-payment-queue";
const LIMIT: Duration = Duration::from_secs(10);

fn message(id: &str) -> Received {
    Received {
        message_id: id.to_owned(),
        receipt_handle: format!("handle of {id}"),
        body: format!(r#"{{"paymentId":"{id}"}}"#),
        md5_of_body: "5d41402abc4b2a76b9719d911017c592".to_owned(),
        md5_of_message_attributes: None,
        attributes: BTreeMap::from([("ApproximateReceiveCount".to_owned(), "1".to_owned())]),
        message_attributes: BTreeMap::new(),
    }
}

fn prepared(message: &Received) -> PreparedMessage {
    PreparedMessage {
        message_id: message.message_id.clone(),
        receipt_handle: message.receipt_handle.clone(),
        json: record_json(message, ARN),
        received_at: Instant::now(),
    }
}

fn attribute(data_type: &str, value: AttributeValue) -> MessageAttribute {
    MessageAttribute { data_type: data_type.to_owned(), value }
}

#[test]
fn event_is_the_one_lambda_sends() {
    let mut with_attributes = message("b");
    with_attributes.body = "O'Brien \u{1F600} \"quoted\"\n".to_owned();
    with_attributes.md5_of_message_attributes = Some("582c92c5c5b6ac403040a4f3ab3115c9".to_owned());
    with_attributes.message_attributes = BTreeMap::from([
        ("sub".to_owned(), attribute("String", AttributeValue::String("user".to_owned()))),
        ("raw".to_owned(), attribute("Binary.x", AttributeValue::Binary(vec![0, 255]))),
    ]);
    let event = event_json(&[prepared(&message("a")), prepared(&with_attributes)]);

    let expected = r#"{"Records":[{"messageId":"a","receiptHandle":"handle of a","#.to_owned()
        + r#""body":"{\"paymentId\":\"a\"}","attributes":{"ApproximateReceiveCount":"1"},"#
        + r#""messageAttributes":{},"md5OfBody":"5d41402abc4b2a76b9719d911017c592","#
        + r#""eventSource":"aws:sqs","eventSourceARN":""#
        + ARN
        + r#"","awsRegion":"us-east-1"},{"messageId":"b","#;
    let text = String::from_utf8(event.to_vec()).unwrap();
    assert!(text.starts_with(&expected), "{text}");

    let event: SqsEvent = serde_json::from_slice(&event).unwrap();
    let read = &event.records[1];
    assert_eq!(read.body.as_ref(), Some(&with_attributes.body));
    assert_eq!(read.receipt_handle.as_ref(), Some(&with_attributes.receipt_handle));
    assert_eq!(read.md5_of_message_attributes, with_attributes.md5_of_message_attributes);
    assert_eq!(read.event_source_arn.as_deref(), Some(ARN));
    let sub = &read.message_attributes["sub"];
    assert_eq!(sub.string_value.as_deref(), Some("user"));
    assert_eq!((sub.data_type.as_deref(), &sub.binary_value), (Some("String"), &None));
    let raw = &read.message_attributes["raw"];
    assert_eq!(raw.binary_value.as_ref().map(|value| value.0.clone()), Some(vec![0, 255]));
    assert_eq!((raw.data_type.as_deref(), &raw.string_value), (Some("Binary.x"), &None));
}

#[test]
fn acknowledgement_is_read_as_lambda_reads_it() {
    let all = || Ok(vec![0, 1, 2]);
    let cases: &[(&str, Result<Vec<usize>, BadResponse>)] = &[
        ("", all()),
        (" \n", all()),
        ("null", all()),
        ("{}", all()),
        (r#"{"batchItemFailures":[]}"#, all()),
        (r#"{"batchItemFailures":null}"#, all()),
        (r#"{"batchItemFailure":[{"itemIdentifier":"a"}]}"#, all()),
        (r#"{"batchItemFailures":[{"itemIdentifier":"b"}]}"#, Ok(vec![0, 2])),
        (r#"{"batchItemFailures":[{"itemIdentifier":"c"},{"itemIdentifier":"a"}]}"#, Ok(vec![1])),
        (
            r#"{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"a"}]}"#,
            Ok(vec![1, 2]),
        ),
        (r#"{"batchItemFailures":[{"itemIdentifier":"a","why":1}],"x":2}"#, Ok(vec![1, 2])),
        (
            r#"{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"z"}]}"#,
            Err(BadResponse::UnknownIdentifier),
        ),
        (r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#, Err(BadResponse::NoIdentifier)),
        (r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#, Err(BadResponse::NoIdentifier)),
        (r#"{"batchItemFailures":[{"itemIdentifier":1}]}"#, Err(BadResponse::NoIdentifier)),
        (r#"{"batchItemFailures":[{"messageId":"a"}]}"#, Err(BadResponse::NoIdentifier)),
        (r#"{"batchItemFailures":["a"]}"#, Err(BadResponse::Shape)),
        (r#"{"batchItemFailures":{"itemIdentifier":"a"}}"#, Err(BadResponse::Shape)),
        (r#"{"batchItemFailures":"a"}"#, Err(BadResponse::Shape)),
        (r#"{"batchItemFailures":[]"#, Err(BadResponse::Shape)),
        ("[]", Err(BadResponse::Shape)),
        (r#""ok""#, Err(BadResponse::Shape)),
        ("not JSON", Err(BadResponse::Shape)),
    ];
    for (response, expected) in cases {
        assert_eq!(&acknowledged(response.as_bytes(), &["a", "b", "c"]), expected, "{response}");
    }
}

#[test]
fn settings_that_lambda_refuses_are_refused() {
    let check = |size, window, concurrency| {
        let window = Duration::from_secs(window);
        MappingSettings::new("q".to_owned(), size, window, concurrency).err()
    };
    assert_eq!(check(10, 0, 1), None);
    assert_eq!(check(10_000, 300, 1000), None);
    assert_eq!(check(0, 0, 1), Some(InvalidMapping::BatchSize));
    assert_eq!(check(10_001, 1, 1), Some(InvalidMapping::BatchSize));
    assert_eq!(check(10, 301, 1), Some(InvalidMapping::Window));
    assert_eq!(check(11, 0, 1), Some(InvalidMapping::NoWindow));
    assert_eq!(check(1, 0, 0), Some(InvalidMapping::Concurrency));
}

#[test]
fn batch_stays_under_the_largest_event_and_keeps_the_rest() {
    let mut large = message("large");
    large.body = "x".repeat(256 * 1024);
    let mut waiting: VecDeque<PreparedMessage> = (0..30).map(|_| prepared(&large)).collect();
    let batch = take_batch(&mut waiting, 10_000);
    let event = event_json(&batch);
    assert!(event.len() <= EVENT_BYTES_MAX && event.len() + 257 * 1024 > EVENT_BYTES_MAX);
    assert_eq!(batch.len() + waiting.len(), 30);
    assert_eq!(take_batch(&mut waiting, 2).len(), 2);
}

/// A queue in memory that never shows a message twice.
#[derive(Clone, Default)]
struct StandIn(Arc<StandInState>);

#[derive(Default)]
struct StandInState {
    visible: Mutex<VecDeque<Received>>,
    sent: Notify,
    receives: AtomicUsize,
    failures_left: AtomicUsize,
    deleted: Mutex<Vec<String>>,
    changed: Notify,
}

impl StandIn {
    fn send(&self, ids: &[&str]) {
        self.0.visible.lock().unwrap().extend(ids.iter().map(|id| message(id)));
        self.0.sent.notify_one();
    }

    fn receives(&self) -> usize {
        self.0.receives.load(Ordering::SeqCst)
    }

    async fn deleted(&self, count: usize) -> Vec<String> {
        let deleted = async {
            loop {
                let mut deleted = self.0.deleted.lock().unwrap().clone();
                if deleted.len() >= count {
                    deleted.sort();
                    return deleted;
                }
                self.0.changed.notified().await;
            }
        };
        tokio::time::timeout(LIMIT, deleted).await.expect("the messages are deleted in time")
    }
}

impl MessageSource for StandIn {
    type Error = &'static str;

    fn arn(&self, _queue: &str) -> String {
        ARN.to_owned()
    }

    async fn receive(
        &self,
        _queue: &str,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Received>, Self::Error> {
        self.0.receives.fetch_add(1, Ordering::SeqCst);
        let failure = |left: usize| left.checked_sub(1);
        let failures = &self.0.failures_left;
        if failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, failure).is_ok() {
            return Err("the queue is away");
        }
        if self.0.visible.lock().unwrap().is_empty() {
            let _ = tokio::time::timeout(wait, self.0.sent.notified()).await;
        }
        let mut visible = self.0.visible.lock().unwrap();
        let count = max.min(visible.len());
        Ok(visible.drain(..count).collect())
    }

    async fn delete(&self, _queue: &str, handles: Vec<String>) -> Result<(), Self::Error> {
        self.0.deleted.lock().unwrap().extend(handles);
        self.0.changed.notify_one();
        Ok(())
    }
}

/// The invocations of a mapping, answered by the test.
struct Invocations(mpsc::UnboundedReceiver<Invocation>);

struct Invocation {
    ids: Vec<String>,
    answer: tokio::sync::oneshot::Sender<Result<Bytes, InvokeError>>,
}

impl Invocations {
    async fn next(&mut self) -> Invocation {
        let next = tokio::time::timeout(LIMIT, self.0.recv()).await;
        next.expect("the function is invoked in time").unwrap()
    }
}

fn start(source: &StandIn, settings: MappingSettings) -> (Mapping, Invocations) {
    let (invoked, invocations) = mpsc::unbounded_channel();
    let mapping = Mapping::start(settings, source.clone(), move |event: Bytes| {
        let invoked = invoked.clone();
        async move {
            let event: SqsEvent = serde_json::from_slice(&event).unwrap();
            let ids = event.records.into_iter().filter_map(|record| record.message_id).collect();
            let (answer, answered) = tokio::sync::oneshot::channel();
            invoked.send(Invocation { ids, answer }).map_err(|_| InvokeError::Exited)?;
            answered.await.unwrap_or(Err(InvokeError::Exited))
        }
    });
    (mapping, Invocations(invocations))
}

fn settings(batch_size: usize, window: Duration, concurrency_max: usize) -> MappingSettings {
    let queue = "submit-payment-queue".to_owned();
    MappingSettings::new(queue, batch_size, window, concurrency_max).unwrap()
}

fn bytes(response: &'static str) -> Result<Bytes, InvokeError> {
    Ok(Bytes::from_static(response.as_bytes()))
}

#[tokio::test]
async fn only_acknowledged_messages_are_deleted() {
    let source = StandIn::default();
    let (mapping, mut invocations) = start(&source, settings(10, Duration::ZERO, 1));
    source.send(&["a", "b", "c"]);
    let first = invocations.next().await;
    assert_eq!(first.ids, ["a", "b", "c"]);
    first.answer.send(bytes(r#"{"batchItemFailures":[{"itemIdentifier":"b"}]}"#)).unwrap();
    assert_eq!(source.deleted(2).await, ["handle of a", "handle of c"]);

    let failed: [Result<Bytes, InvokeError>; 3] = [
        Err(InvokeError::Exited),
        bytes(r#"{"batchItemFailures":[{"itemIdentifier":"of another batch"}]}"#),
        bytes("oops"),
    ];
    for outcome in failed {
        source.send(&["d", "e"]);
        invocations.next().await.answer.send(outcome).unwrap();
    }
    source.send(&["f"]);
    invocations.next().await.answer.send(bytes("")).unwrap();
    assert_eq!(source.deleted(3).await, ["handle of a", "handle of c", "handle of f"]);
    mapping.stop(LIMIT).await;
}

#[tokio::test]
async fn without_a_window_a_batch_is_what_one_receive_gave() {
    let source = StandIn::default();
    source.send(&["a", "b", "c"]);
    let (_mapping, mut invocations) = start(&source, settings(2, Duration::ZERO, 2));
    assert_eq!(invocations.next().await.ids, ["a", "b"]);
    assert_eq!(invocations.next().await.ids, ["c"]);
}

#[tokio::test]
async fn with_a_window_a_batch_is_gathered_until_it_is_full() {
    let source = StandIn::default();
    let ids: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let (_mapping, mut invocations) = start(&source, settings(12, WINDOW_MAX, 1));
    source.send(&ids[..11]);
    source.send(&ids[11..]);
    assert_eq!(invocations.next().await.ids, ids);
}

#[tokio::test]
async fn with_a_window_a_batch_leaves_when_the_window_is_over() {
    let source = StandIn::default();
    let window = Duration::from_millis(50);
    let (_mapping, mut invocations) = start(&source, settings(10, window, 1));
    let sent = Instant::now();
    source.send(&["a"]);
    assert_eq!(invocations.next().await.ids, ["a"]);
    assert!(sent.elapsed() >= window);
}

#[tokio::test]
async fn nothing_is_received_while_no_invocation_can_start() {
    let source = StandIn::default();
    source.send(&["a", "b", "c"]);
    let (_mapping, mut invocations) = start(&source, settings(1, Duration::ZERO, 2));
    let first = invocations.next().await;
    let _second = invocations.next().await;
    // On this single thread the poller has every chance to go on.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(source.receives(), 2);
    first.answer.send(bytes("")).unwrap();
    assert_eq!(invocations.next().await.ids, ["c"]);
}

#[tokio::test]
async fn failed_receives_are_repeated() {
    let source = StandIn::default();
    source.0.failures_left.store(2, Ordering::SeqCst);
    source.send(&["a"]);
    let (_mapping, mut invocations) = start(&source, settings(1, Duration::ZERO, 1));
    assert_eq!(invocations.next().await.ids, ["a"]);
    assert_eq!(source.receives(), 3);
}

#[tokio::test]
async fn stop_finishes_what_is_under_way_and_is_bounded() {
    let source = StandIn::default();
    source.send(&["a"]);
    let (mapping, mut invocations) = start(&source, settings(1, Duration::ZERO, 1));
    let under_way = invocations.next().await;
    let stopping = tokio::spawn(mapping.stop(LIMIT));
    under_way.answer.send(bytes("")).unwrap();
    stopping.await.unwrap();
    assert_eq!(source.deleted(1).await, ["handle of a"]);

    source.send(&["b"]);
    let (mapping, mut invocations) = start(&source, settings(1, Duration::ZERO, 1));
    let under_way = invocations.next().await;
    mapping.stop(Duration::from_millis(20)).await;
    let given_up = async {
        while !under_way.answer.is_closed() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(LIMIT, given_up).await.expect("the invocation is given up");
}
