//! The event source mapping: from a queue to a function and back.
//!
//! Messages are received only when an invocation can start with them, so that waiting for a free
//! process never counts as a delivery. What the function acknowledges is deleted; the rest comes
//! back by itself when its visibility timeout is over.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    future::Future,
    sync::Arc,
    time::Duration,
};

use axum::body::Bytes;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Serialize;
use serde_json::Value;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::Instant,
};

use queue::{AttributeValue, MessageAttribute, QueueError, Queues, Received};

use crate::backoff::Backoff;
use crate::runtime_api::InvokeError;

/// The most messages of one receive, as in SQS.
const RECEIVE_MAX: usize = 10;
/// The longest poll, as in SQS.
const POLL_MAX: Duration = Duration::from_secs(20);
/// The most messages of a batch, as in Lambda.
const BATCH_SIZE_MAX: usize = 10_000;
/// A batch over this size needs a window, as in Lambda.
const BATCH_SIZE_MAX_WITHOUT_WINDOW: usize = 10;
/// The longest batching window, as in Lambda.
const WINDOW_MAX: Duration = Duration::from_secs(300);
/// The largest event, in bytes, as in Lambda.
const EVENT_BYTES_MAX: usize = 6 * 1024 * 1024;
/// How often a delete is tried. When all fail, the function sees the messages again, and it is
/// idempotent.
const DELETE_ATTEMPTS_MAX: u32 = 3;

const EVENT_HEAD: &[u8] = br#"{"Records":["#;
const EVENT_TAIL: &[u8] = b"]}";

/// A queue, the way the mapping needs it.
pub trait MessageSource: Clone + Send + Sync + 'static {
    /// Why the queue did not do as asked.
    type Error: std::fmt::Display + Send;

    /// The queue's ARN.
    fn arn(&self, queue: &str) -> String;

    /// Up to `max` messages, as soon as there is one; none after `wait`.
    fn receive(
        &self,
        queue: &str,
        max: usize,
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<Received>, Self::Error>> + Send;

    /// Deletes the messages of these receipt handles.
    fn delete(
        &self,
        queue: &str,
        receipt_handles: Vec<String>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

impl MessageSource for Queues {
    type Error = QueueError;

    fn arn(&self, queue: &str) -> String {
        Queues::arn(self, queue)
    }

    async fn receive(
        &self,
        queue: &str,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Received>, QueueError> {
        Queues::receive(self, queue, max, wait).await
    }

    async fn delete(&self, queue: &str, receipt_handles: Vec<String>) -> Result<(), QueueError> {
        Queues::delete(self, queue, receipt_handles).await
    }
}

/// How a queue is mapped to a function.
#[derive(Debug, Clone)]
pub struct MappingSettings {
    queue: String,
    batch_size: usize,
    window: Duration,
    concurrency_max: usize,
}

/// A setting that Lambda refuses too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMapping {
    /// The batch size is out of bounds.
    #[error("the batch size is from 1 to {BATCH_SIZE_MAX}")]
    BatchSize,
    /// The window is too long.
    #[error("the batching window is from 0 to {} s", WINDOW_MAX.as_secs())]
    Window,
    /// A large batch without a window.
    #[error("a batch size over {BATCH_SIZE_MAX_WITHOUT_WINDOW} needs a window of at least 1 s")]
    NoWindow,
    /// Nothing could ever be invoked.
    #[error("the maximum concurrency is at least 1")]
    Concurrency,
}

impl MappingSettings {
    /// Batches of up to `batch_size` messages, gathered for as long as `window` (zero: what one
    /// receive gave), with at most `concurrency_max` invocations under way.
    ///
    /// # Errors
    /// [`InvalidMapping`] for what Lambda refuses. It also refuses a maximum concurrency of 1,
    /// which is useful on one machine.
    pub fn new(
        queue: String,
        batch_size: usize,
        window: Duration,
        concurrency_max: usize,
    ) -> Result<Self, InvalidMapping> {
        if !(1..=BATCH_SIZE_MAX).contains(&batch_size) {
            return Err(InvalidMapping::BatchSize);
        }
        if window > WINDOW_MAX {
            return Err(InvalidMapping::Window);
        }
        if batch_size > BATCH_SIZE_MAX_WITHOUT_WINDOW && window < Duration::from_secs(1) {
            return Err(InvalidMapping::NoWindow);
        }
        if concurrency_max == 0 {
            return Err(InvalidMapping::Concurrency);
        }
        Ok(Self { queue, batch_size, window, concurrency_max })
    }
}

/// A running mapping. Dropping it gives up what is under way.
#[derive(Debug)]
pub struct Mapping {
    stop: watch::Sender<bool>,
    poller: JoinHandle<()>,
}

impl Mapping {
    /// Starts to poll; `invoke` runs the function with one event.
    pub fn start<S, I, F>(settings: MappingSettings, source: S, invoke: I) -> Self
    where
        S: MessageSource,
        I: Fn(Bytes) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Bytes, InvokeError>> + Send + 'static,
    {
        let stop = watch::Sender::new(false);
        let poller = Poller {
            arn: source.arn(&settings.queue),
            settings,
            source,
            waiting: VecDeque::new(),
            backoff: Backoff::new(),
            stop: stop.subscribe(),
        };
        let poller = tokio::spawn(poller.run(Arc::new(invoke)));
        Self { stop, poller }
    }

    /// Receives no more, and waits at most `within` for the invocations under way. Messages
    /// without an acknowledgement by then come back after their visibility timeout.
    pub async fn stop(mut self, within: Duration) {
        self.stop.send_replace(true);
        match tokio::time::timeout(within, &mut self.poller).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the event source mapping broke"),
            Err(_) => tracing::warn!("invocations under way were given up"),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.poller.abort();
    }
}

/// One message, ready to be sent to the function.
#[derive(Debug)]
struct Record {
    message_id: String,
    receipt_handle: String,
    json: Vec<u8>,
    received_at: Instant,
}

/// Receives and forms batches.
struct Poller<S> {
    arn: String,
    settings: MappingSettings,
    source: S,
    /// Received, and in no batch yet.
    waiting: VecDeque<Record>,
    backoff: Backoff,
    stop: watch::Receiver<bool>,
}

impl<S: MessageSource> Poller<S> {
    async fn run<I, F>(mut self, invoke: Arc<I>)
    where
        I: Fn(Bytes) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Bytes, InvokeError>> + Send + 'static,
    {
        let slots = Arc::new(Semaphore::new(self.settings.concurrency_max));
        let mut under_way = JoinSet::new();
        while let Some(slot) = self.free_slot(&slots).await {
            self.gather().await;
            let batch = take_batch(&mut self.waiting, self.settings.batch_size);
            if !batch.is_empty() {
                let (source, invoke) = (self.source.clone(), Arc::clone(&invoke));
                let queue = self.settings.queue.clone();
                under_way.spawn(async move {
                    let _slot = slot;
                    deliver(&source, &queue, batch, &*invoke).await;
                });
            }
            while let Some(delivered) = under_way.try_join_next() {
                log_panic(delivered);
            }
        }
        while let Some(delivered) = under_way.join_next().await {
            log_panic(delivered);
        }
    }

    /// The right to one invocation; `None` when the mapping stops.
    async fn free_slot(&mut self, slots: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop) => None,
            slot = Arc::clone(slots).acquire_owned() => slot.ok(),
        }
    }

    /// Receives until a batch is full, the window of its oldest message is over, or the mapping
    /// stops. An unfinished receive leaves its messages to their visibility timeout.
    async fn gather(&mut self) {
        loop {
            let wait = match self.waiting.front() {
                None => POLL_MAX,
                Some(oldest) => {
                    let left = self.settings.window.saturating_sub(oldest.received_at.elapsed());
                    if left.is_zero() || self.is_full() {
                        return;
                    }
                    left.min(POLL_MAX)
                }
            };
            let max = RECEIVE_MAX.min(self.settings.batch_size - self.waiting.len());
            let received = tokio::select! {
                biased;
                _ = self.stop.wait_for(|stop| *stop) => return,
                received = self.source.receive(&self.settings.queue, max, wait) => received,
            };
            match received {
                Ok(messages) => {
                    self.backoff.reset();
                    self.waiting.extend(messages.into_iter().map(|message| Record {
                        json: record_json(&message, &self.arn),
                        message_id: message.message_id,
                        receipt_handle: message.receipt_handle,
                        received_at: Instant::now(),
                    }));
                }
                Err(error) => {
                    let delay = self.backoff.after_failure();
                    let (queue, delay_ms) = (&self.settings.queue, delay.as_millis());
                    tracing::error!(queue, %error, delay_ms, "cannot receive messages");
                    tokio::select! {
                        _ = self.stop.wait_for(|stop| *stop) => return,
                        () = tokio::time::sleep(delay) => {}
                    }
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        let bytes: usize = self.waiting.iter().map(|record| record.json.len() + 1).sum();
        self.waiting.len() >= self.settings.batch_size || bytes >= EVENT_BYTES_MAX
    }
}

fn log_panic(delivered: Result<(), tokio::task::JoinError>) {
    if let Err(error) = delivered {
        tracing::error!(%error, "a delivery broke; its messages come back");
    }
}

/// The oldest messages that fit into one event, at least one.
fn take_batch(waiting: &mut VecDeque<Record>, batch_size: usize) -> Vec<Record> {
    let mut bytes = EVENT_HEAD.len() + EVENT_TAIL.len();
    let mut batch = Vec::new();
    while let Some(record) = waiting.front() {
        bytes += record.json.len() + 1;
        if batch.len() == batch_size || (bytes > EVENT_BYTES_MAX && !batch.is_empty()) {
            break;
        }
        batch.extend(waiting.pop_front());
    }
    batch
}

/// Invokes the function with one batch, then deletes what it acknowledged.
async fn deliver<S, I, F>(source: &S, queue: &str, batch: Vec<Record>, invoke: &I)
where
    S: MessageSource,
    I: Fn(Bytes) -> F,
    F: Future<Output = Result<Bytes, InvokeError>>,
{
    let messages = batch.len();
    let response = match invoke(event_json(&batch)).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(queue, messages, %error, "the function failed; the batch comes back");
            return;
        }
    };
    let ids: Vec<&str> = batch.iter().map(|record| record.message_id.as_str()).collect();
    let done: HashSet<usize> = match acknowledged(&response, &ids) {
        Ok(done) => done.into_iter().collect(),
        Err(error) => {
            tracing::error!(queue, messages, %error, "the whole batch comes back");
            return;
        }
    };
    let receipt_handles: Vec<String> = batch
        .into_iter()
        .enumerate()
        .filter(|(position, _)| done.contains(position))
        .map(|(_, record)| record.receipt_handle)
        .collect();
    if !receipt_handles.is_empty() {
        delete(source, queue, receipt_handles).await;
    }
}

async fn delete<S: MessageSource>(source: &S, queue: &str, receipt_handles: Vec<String>) {
    let mut backoff = Backoff::new();
    for attempt in 1..=DELETE_ATTEMPTS_MAX {
        match source.delete(queue, receipt_handles.clone()).await {
            Ok(()) => return,
            Err(error) => tracing::error!(queue, attempt, %error, "cannot delete messages"),
        }
        if attempt < DELETE_ATTEMPTS_MAX {
            tokio::time::sleep(backoff.after_failure()).await;
        }
    }
}

/// A response that makes Lambda retry the whole batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadResponse {
    /// It is not a JSON object, or its failures are not a list of objects.
    #[error("the response has the wrong shape")]
    Shape,
    /// An identifier is missing, null, empty or not a string.
    #[error("the response has a failure without an itemIdentifier")]
    NoIdentifier,
    /// An identifier is of no message in the batch.
    #[error("the response names a message that is not in the batch")]
    UnknownIdentifier,
}

/// The positions of the messages that a response acknowledges, in a batch of these message ids.
///
/// As in Lambda, an empty or null response, an empty or null list, and a response without
/// `batchItemFailures` acknowledge everything; the last one is how a wrong key loses failures.
///
/// # Errors
/// [`BadResponse`]: Lambda acknowledges nothing.
pub fn acknowledged(response: &[u8], batch: &[&str]) -> Result<Vec<usize>, BadResponse> {
    let everything = (0..batch.len()).collect();
    if response.trim_ascii().is_empty() {
        return Ok(everything);
    }
    let failures = match serde_json::from_slice(response) {
        Ok(Value::Null) => return Ok(everything),
        Ok(Value::Object(mut response)) => match response.remove("batchItemFailures") {
            None | Some(Value::Null) => return Ok(everything),
            Some(Value::Array(failures)) => failures,
            Some(_) => return Err(BadResponse::Shape),
        },
        Ok(_) | Err(_) => return Err(BadResponse::Shape),
    };
    let known: HashSet<&str> = batch.iter().copied().collect();
    let mut failed = HashSet::new();
    for failure in &failures {
        let failure = failure.as_object().ok_or(BadResponse::Shape)?;
        let identifier = failure.get("itemIdentifier").and_then(Value::as_str);
        let identifier = identifier.filter(|id| !id.is_empty()).ok_or(BadResponse::NoIdentifier)?;
        if !known.contains(identifier) {
            return Err(BadResponse::UnknownIdentifier);
        }
        failed.insert(identifier);
    }
    Ok((0..batch.len()).filter(|position| !failed.contains(batch[*position])).collect())
}

fn event_json(batch: &[Record]) -> Bytes {
    let mut event = EVENT_HEAD.to_vec();
    for (position, record) in batch.iter().enumerate() {
        if position > 0 {
            event.push(b',');
        }
        event.extend_from_slice(&record.json);
    }
    event.extend_from_slice(EVENT_TAIL);
    event.into()
}

/// A record of Lambda's SQS event, its keys in Lambda's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventRecord<'a> {
    message_id: &'a str,
    receipt_handle: &'a str,
    body: &'a str,
    attributes: &'a BTreeMap<String, String>,
    message_attributes: BTreeMap<&'a str, EventAttribute<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    md5_of_message_attributes: Option<&'a str>,
    md5_of_body: &'a str,
    event_source: &'a str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'a str,
    aws_region: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventAttribute<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<String>,
    string_list_values: [&'a str; 0],
    binary_list_values: [&'a str; 0],
    data_type: &'a str,
}

impl<'a> From<&'a MessageAttribute> for EventAttribute<'a> {
    fn from(attribute: &'a MessageAttribute) -> Self {
        let (string_value, binary_value) = match &attribute.value {
            AttributeValue::String(text) => (Some(text.as_str()), None),
            AttributeValue::Binary(bytes) => (None, Some(BASE64_STANDARD.encode(bytes))),
        };
        Self {
            string_value,
            binary_value,
            string_list_values: [],
            binary_list_values: [],
            data_type: &attribute.data_type,
        }
    }
}

fn record_json(message: &Received, arn: &str) -> Vec<u8> {
    let attributes = message.message_attributes.iter();
    let record = EventRecord {
        message_id: &message.message_id,
        receipt_handle: &message.receipt_handle,
        body: &message.body,
        attributes: &message.attributes,
        message_attributes: attributes.map(|(name, value)| (name.as_str(), value.into())).collect(),
        md5_of_message_attributes: message.md5_of_message_attributes.as_deref(),
        md5_of_body: &message.md5_of_body,
        event_source: "aws:sqs",
        event_source_arn: arn,
        aws_region: "us-east-1",
    };
    serde_json::to_vec(&record).expect("strings and maps of strings are JSON")
}

#[cfg(test)]
mod tests;
