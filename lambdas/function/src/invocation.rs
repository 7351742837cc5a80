//! One invocation: its clock, its end, and who runs it.

use std::time::Duration;

use tokio::time::Instant;

/// An invocation.
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

    /// The moment that is `time` before the end of the invocation, but never before its beginning.
    pub(crate) fn before_end(&self, time: Duration) -> Instant {
        self.ends.checked_sub(time).unwrap_or(self.started)
    }
}
