//! A limit on requests per second.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// As many requests as the rate may come at once.
const BURST: Duration = Duration::from_secs(1);

/// A token bucket, kept as the time at which it will be full again.
#[derive(Debug)]
pub(crate) struct RateLimit {
    interval: Duration,
    full_at: Mutex<Instant>,
}

impl RateLimit {
    /// A full bucket for a number of requests per second.
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        Self { interval: BURST / per_second.get(), full_at: Mutex::new(Instant::now()) }
    }

    /// Takes one request's place, if there is one.
    pub(crate) fn admit(&self, now: Instant) -> bool {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let next = (*full_at).max(now) + self.interval;
        let admitted = next <= now + BURST;
        if admitted {
            *full_at = next;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_one_seconds_worth_and_places_return_with_time() {
        let limit = RateLimit::new(NonZeroU32::new(3).expect("not zero"));
        let start = Instant::now();
        let admitted = |at_ms| limit.admit(start + Duration::from_millis(at_ms));
        let expected =
            [(0, true), (0, true), (0, true), (0, false), (333, false), (334, true), (334, false)];
        for (at_ms, expected) in expected {
            assert_eq!(admitted(at_ms), expected, "at {at_ms} ms");
        }
    }
}
