//! Waiting times between attempts.

use std::time::Duration;

/// The first wait.
const DELAY_MIN: Duration = Duration::from_millis(100);
/// The longest wait.
const DELAY_MAX: Duration = Duration::from_secs(10);

/// Doubles from 100 ms to 10 s, until something succeeds.
#[derive(Debug)]
pub(crate) struct Backoff {
    delay: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { delay: DELAY_MIN }
    }

    /// How long to wait after this failure.
    pub(crate) fn after_failure(&mut self) -> Duration {
        let delay = self.delay;
        self.delay = (delay * 2).min(DELAY_MAX);
        delay
    }

    pub(crate) fn reset(&mut self) {
        self.delay = DELAY_MIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_doubles_up_to_its_limit_and_a_success_resets_it() {
        let mut backoff = Backoff::new();
        let delays: Vec<u128> = (0..9).map(|_| backoff.after_failure().as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        backoff.reset();
        assert_eq!(backoff.after_failure(), DELAY_MIN);
    }
}
