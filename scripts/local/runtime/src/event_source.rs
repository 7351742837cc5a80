//! The event source mapping: from a queue to a function and back.
//!
//! Messages are received only when an invocation can start with them, so that waiting for a free
//! process never counts as a delivery. What the function acknowledges is deleted; the rest comes
//! back by itself when its visibility timeout is over.

mod event;
mod response;
mod settings;
mod source;
#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use self::event::{EVENT_BYTES_MAX, PreparedMessage, event_json, record_json, take_batch};
use self::response::acknowledged;
pub use self::settings::{InvalidMapping, MappingSettings};
pub use self::source::MessageSource;
use crate::backoff::Backoff;
use crate::invoke_error::InvokeError;

/// The most messages of one receive, as in SQS.
const RECEIVE_MAX: usize = 10;
/// The longest poll, as in SQS.
const POLL_MAX: Duration = Duration::from_secs(20);
/// How often a delete is tried. When all attempts fail, the function gets the messages again, which it must
/// be prepared for in any case.
const DELETE_ATTEMPTS_MAX: u32 = 3;

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
        match timeout(within, &mut self.poller).await {
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

/// Receives and forms batches.
struct Poller<S> {
    arn: String,
    settings: MappingSettings,
    source: S,
    /// Received, and in no batch yet.
    waiting: VecDeque<PreparedMessage>,
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
                    self.waiting.extend(messages.into_iter().map(|message| PreparedMessage {
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
                        () = sleep(delay) => {}
                    }
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        let bytes: usize = self.waiting.iter().map(|message| message.json.len() + 1).sum();
        self.waiting.len() >= self.settings.batch_size || bytes >= EVENT_BYTES_MAX
    }
}

fn log_panic(delivered: Result<(), JoinError>) {
    if let Err(error) = delivered {
        tracing::error!(%error, "a delivery broke; its messages come back");
    }
}

/// Invokes the function with one batch, then deletes what it acknowledged.
async fn deliver<S, I, F>(source: &S, queue: &str, batch: Vec<PreparedMessage>, invoke: &I)
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
    let ids: Vec<&str> = batch.iter().map(|message| message.message_id.as_str()).collect();
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
        .map(|(_, message)| message.receipt_handle)
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
            sleep(backoff.after_failure()).await;
        }
    }
}
