//! One batch of the queue's messages: side by side, none of which can harm another; its deadline; and the
//! partial-batch response.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use futures::{FutureExt, StreamExt, stream};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};
use tracing::Level;

use crate::dead_letter::{DeadReason, FunctionFailure};
use crate::invocation::Invocation;
use crate::metrics::{self, Sample};
use crate::queue::Message;
use crate::retry::Unfinished;
use crate::settings::Settings;

/// Giving messages up must be done a fifth of the margin before the invocation's end.
const RESERVE_DIVISOR: u32 = 5;

/// What can become of a message.
pub trait Outcome {
    /// Whether the queue may delete the message: the outcome is durable.
    fn is_acknowledged(&self) -> bool;

    /// Its name in logs.
    fn name(&self) -> &'static str;

    /// The reason's name, for the outcomes that have one.
    fn reason(&self) -> Option<&'static str>;

    /// The level of its line in the log.
    fn level(&self) -> Level;

    /// The metrics that count it.
    fn counters(&self) -> &'static [&'static str];

    /// The metric of the time that it took since the message was accepted, if it has one.
    fn timer(&self) -> Option<&'static str>;
}

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done<O> {
    /// The queue's id of the message.
    pub message_id: String,
    /// The outcome.
    pub outcome: O,
    /// From acceptance until now, in milliseconds.
    pub since_accepted_ms: i64,
}

impl<O: Outcome> Done<O> {
    /// What became of a message that was accepted at `accepted_at_ms` since 1970-01-01 UTC in the
    /// request `request_id`; it is logged.
    #[must_use]
    pub fn logged(
        invocation: &Invocation,
        message: &Message,
        (request_id, accepted_at_ms): (&str, i64),
        outcome: O,
    ) -> Done<O> {
        let since_accepted_ms = invocation.now_ms().saturating_sub(accepted_at_ms).max(0);
        let (name, reason) = (outcome.name(), outcome.reason());
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    messageId = message.message_id,
                    requestId = request_id,
                    receiveCount = message.receive_count,
                    outcome = name,
                    reason,
                    sinceAcceptedMs = since_accepted_ms,
                    "record"
                )
            };
        }
        match outcome.level() {
            Level::ERROR => line!(error),
            Level::WARN => line!(warn),
            _ => line!(info),
        }
        Done { message_id: message.message_id.clone(), outcome, since_accepted_ms }
    }

    fn sample(&self) -> Sample {
        Sample {
            counters: self.outcome.counters(),
            time: self.outcome.timer().map(|name| (name, self.since_accepted_ms)),
        }
    }
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<O> {
    /// Each message, in the order in which they were done.
    pub messages: Vec<Done<O>>,
}

impl<O: Outcome> Report<O> {
    /// The partial-batch response: the messages that the queue is to deliver again.
    #[must_use]
    pub fn response(&self) -> SqsBatchResponse {
        let mut response = SqsBatchResponse::default();
        for done in self.messages.iter().filter(|done| !done.outcome.is_acknowledged()) {
            response.add_failure(done.message_id.clone());
        }
        response
    }
}

/// A message without an id: the response cannot name it, so the whole batch must be delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record of the batch has no messageId")]
pub struct MissingMessageId;

/// Something that is not an event of a queue: the whole batch must be delivered again. It says where, and
/// never quotes what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event is unreadable at line {line}, column {column}")]
struct UnreadableEvent {
    line: usize,
    column: usize,
}

/// Takes batches until the environment ends, and writes each one's metrics.
///
/// # Errors
/// A Runtime API that does not answer: the process must end, because an empty response would acknowledge a
/// batch that nobody has read.
pub async fn serve<O: Outcome>(
    process: impl AsyncFn(&Invocation, SqsEvent) -> Result<Report<O>, MissingMessageId>,
) -> anyhow::Result<()> {
    let process = &process;
    // The event is read here and not by the runtime, which would keep the path to each property while it
    // reads, and would quote what it cannot read.
    let handler = service_fn(async move |event: LambdaEvent<Box<RawValue>>| {
        let now = SystemTime::now();
        let batch = read(event.payload.get())?;
        let left = event.context.deadline().duration_since(now).unwrap_or(Duration::ZERO);
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let invocation = Invocation::new(
            i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX),
            left,
            event.context.env_config.version.clone(),
        );
        let report = process(&invocation, batch).await?;
        let samples: Vec<Sample> = report.messages.iter().map(Done::sample).collect();
        metrics::emit(&event.context.env_config.function_name, invocation.now_ms(), &samples);
        Ok::<_, lambda_runtime::Error>(report.response())
    });
    lambda_runtime::run(handler).await.map_err(anyhow::Error::from_boxed)
}

fn read(event: &str) -> Result<SqsEvent, UnreadableEvent> {
    serde_json::from_str(event)
        .map_err(|error| UnreadableEvent { line: error.line(), column: error.column() })
}

/// The messages of a batch.
///
/// # Errors
/// [`MissingMessageId`].
pub fn messages(event: SqsEvent) -> Result<Vec<Message>, MissingMessageId> {
    let messages: Option<Vec<Message>> = event.records.into_iter().map(Message::read).collect();
    messages.ok_or(MissingMessageId)
}

/// Does `one` with each message, [`Settings::concurrency`] of them at once.
pub async fn each<'a, M, O, F: Future<Output = Done<O>>>(
    settings: &Settings,
    messages: &'a [M],
    one: impl Fn(&'a M) -> F,
) -> Report<O> {
    let done = stream::iter(messages).map(one).buffer_unordered(settings.concurrency);
    Report { messages: done.collect().await }
}

/// Does the work on one message, and gives the message up when the work fails, panics, or is not done when
/// its time is over. `retry` is what becomes of it when giving up panics or takes too long as well.
pub async fn isolated<O, G: Future<Output = O>>(
    settings: &Settings,
    invocation: &Invocation,
    work: impl Future<Output = Result<O, Unfinished>>,
    give_up: impl FnOnce(Unfinished) -> G,
    retry: impl FnOnce(DeadReason) -> O,
) -> O {
    let margin = settings.deadline_margin;
    let done = until(invocation.before_end(margin), work).await;
    match done.unwrap_or_else(|stopped| Err(stopped)) {
        Ok(outcome) => outcome,
        Err(unfinished) => {
            let reason = unfinished.reason;
            let ends = invocation.before_end(margin / RESERVE_DIVISOR);
            until(ends, give_up(unfinished)).await.unwrap_or_else(|_| retry(reason))
        }
    }
}

/// Runs a step until it is done, panics, or runs out of time; does not start it when it is too late.
async fn until<T>(ends: Instant, step: impl Future<Output = T>) -> Result<T, Unfinished> {
    let stopped = |failure: FunctionFailure, detail: &str| {
        Err(Unfinished { reason: failure.into(), detail: detail.to_owned(), may_pass: true })
    };
    if Instant::now() >= ends {
        return stopped(FunctionFailure::DeadlineExceeded, "not started before the deadline");
    }
    match timeout_at(ends, AssertUnwindSafe(step).catch_unwind()).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_panic)) => stopped(FunctionFailure::Panicked, "the record's processing panicked"),
        Err(_elapsed) => stopped(FunctionFailure::DeadlineExceeded, "not done before the deadline"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_event_is_not_quoted() {
        let error = read(r#"{"Records":[{"messageId":"m","body":["canary"]}]}"#).unwrap_err();
        assert_eq!(error.to_string(), "the event is unreadable at line 1, column 36");
        assert_eq!(read(r#"{"Records":[]}"#).unwrap().records.len(), 0);
    }
}
