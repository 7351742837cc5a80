//! One batch: its records side by side, none of which can harm another.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use futures::{FutureExt, StreamExt, stream};
use schema::envelope::DeadReason;
use tokio::time::{Instant, timeout_at};

use crate::config::Config;
use crate::edges::Edges;
use crate::outcome::Outcome;
use crate::process::{Unfinished, carry_out, give_up};
use crate::record::Record;
use crate::telemetry;

/// One invocation: its clock, its end, and who runs it.
#[derive(Debug, Clone)]
pub struct Invocation {
    started: Instant,
    started_ms: i64,
    ends: Instant,
    /// Version of the function, for dead letters.
    pub function_version: String,
}

impl Invocation {
    /// An invocation that begins now, at `started_ms` since 1970-01-01 UTC, and has `left` to run.
    #[must_use]
    pub fn new(started_ms: i64, left: Duration, function_version: String) -> Invocation {
        let started = Instant::now();
        Invocation { started, started_ms, ends: started + left, function_version }
    }

    /// Milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.started_ms.saturating_add(elapsed)
    }

    /// The end of the time for work: what is not done then is given up.
    fn work_ends(&self, config: &Config) -> Instant {
        self.ends.checked_sub(config.deadline_margin).unwrap_or(self.started)
    }

    /// The end of the time for giving up, a fifth of the margin before the invocation's.
    fn giving_up_ends(&self, config: &Config) -> Instant {
        self.ends.checked_sub(config.deadline_margin / 5).unwrap_or(self.started)
    }
}

/// An event that is none of the queue's: the whole batch must be delivered again. It says where, and never
/// quotes what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event is unreadable at line {line}, column {column}")]
pub struct UnreadableEvent {
    line: usize,
    column: usize,
}

/// Reads the queue's event.
///
/// # Errors
/// [`UnreadableEvent`].
pub fn read(event: &str) -> Result<SqsEvent, UnreadableEvent> {
    serde_json::from_str(event)
        .map_err(|error| UnreadableEvent { line: error.line(), column: error.column() })
}

/// A record without an id: the response cannot name it, so the whole batch must be delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record of the batch has no messageId")]
pub struct MissingMessageId;

/// What became of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The queue's id of the message.
    pub message_id: String,
    /// The outcome.
    pub outcome: Outcome,
    /// From acceptance until now, in milliseconds.
    pub since_accepted_ms: i64,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Each record, in the order in which they were done.
    pub records: Vec<Done>,
}

impl Report {
    /// The partial-batch response: the messages that the queue is to deliver again.
    #[must_use]
    pub fn response(&self) -> SqsBatchResponse {
        let mut response = SqsBatchResponse::default();
        for done in self.records.iter().filter(|done| !done.outcome.is_acknowledged()) {
            response.add_failure(done.message_id.clone());
        }
        response
    }
}

/// Processes a batch.
///
/// The retry contract: a record that the report does not acknowledge is delivered again; delivering any
/// record again, at any time, in any company, is harmless.
///
/// # Errors
/// [`MissingMessageId`]; nothing has been done then.
pub async fn process(
    config: &Config,
    edges: &impl Edges,
    invocation: &Invocation,
    event: SqsEvent,
) -> Result<Report, MissingMessageId> {
    let records: Option<Vec<Record>> = event.records.into_iter().map(Record::read).collect();
    let records = records.ok_or(MissingMessageId)?;
    let records = stream::iter(&records)
        .map(|record| one(config, edges, invocation, record))
        .buffer_unordered(config.concurrency)
        .collect()
        .await;
    Ok(Report { records })
}

async fn one(
    config: &Config,
    edges: &impl Edges,
    invocation: &Invocation,
    record: &Record,
) -> Done {
    let work_ends = invocation.work_ends(config);
    let done = isolated(work_ends, carry_out(edges, invocation, record)).await;
    let outcome = match done.unwrap_or_else(Err) {
        Ok(outcome) => outcome,
        Err(unfinished) => {
            let reason = unfinished.reason;
            let ends = invocation.giving_up_ends(config);
            isolated(ends, give_up(config, edges, invocation, record, unfinished))
                .await
                .unwrap_or(Outcome::Retry(reason))
        }
    };
    let since_accepted_ms =
        invocation.now_ms().saturating_sub(record.submission.accepted_at_ms).max(0);
    let done = Done { message_id: record.message_id.clone(), outcome, since_accepted_ms };
    telemetry::log(record, &done);
    done
}

/// Runs a step until it is done, panics, or runs out of time; does not start it when it is too late.
async fn isolated<T>(ends: Instant, step: impl Future<Output = T>) -> Result<T, Unfinished> {
    let unfinished = |reason, detail: &str| {
        Err(Unfinished { reason, detail: detail.to_owned(), may_pass: true })
    };
    if Instant::now() >= ends {
        return unfinished(DeadReason::DeadlineExceeded, "not started before the deadline");
    }
    match timeout_at(ends, AssertUnwindSafe(step).catch_unwind()).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_panic)) => unfinished(DeadReason::Panicked, "the record's processing panicked"),
        Err(_elapsed) => unfinished(DeadReason::DeadlineExceeded, "not done before the deadline"),
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
