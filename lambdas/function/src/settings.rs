//! The configuration of a function behind a queue.

use std::time::Duration;

use crate::environment::{BadVariable, Environment};

/// The longest delay before a retry.
pub(crate) const RETRY_DELAY_MAX: Duration = Duration::from_secs(15 * 60);

/// How a function behind a queue works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `REMIT_QUEUE_URL`: the queue whose batches are processed.
    pub queue_url: String,
    /// `REMIT_DEAD_LETTER_QUEUE_URL`: where messages go that only an operator can help.
    pub dead_letter_queue_url: String,
    /// `REMIT_RECEIVE_COUNT_MAX`: receives after which a message dies; the redrive policy's value.
    pub receive_count_max: u32,
    /// `REMIT_RETRY_DELAY_SECONDS`: delay before the first retry; later ones wait longer.
    pub retry_delay: Duration,
    /// `REMIT_CONCURRENCY`: messages of a batch in progress at once.
    pub concurrency: usize,
    /// `REMIT_DEADLINE_MARGIN_MS`: time before the invocation's end at which no more work is started.
    pub deadline_margin: Duration,
}

impl Settings {
    /// Reads the settings.
    ///
    /// # Errors
    /// The first variable that is missing or wrong.
    pub fn read(environment: &impl Environment) -> Result<Settings, BadVariable> {
        Ok(Settings {
            queue_url: environment.text("REMIT_QUEUE_URL")?,
            dead_letter_queue_url: environment.text("REMIT_DEAD_LETTER_QUEUE_URL")?,
            // SQS's range of a redrive policy.
            receive_count_max: environment.number("REMIT_RECEIVE_COUNT_MAX", 1..=1000)?,
            // A first delay may not be longer than the longest.
            retry_delay: Duration::from_secs(
                environment.number("REMIT_RETRY_DELAY_SECONDS", 0..=RETRY_DELAY_MAX.as_secs())?,
            ),
            concurrency: environment.number("REMIT_CONCURRENCY", 1..=1024)?,
            deadline_margin: Duration::from_millis(
                environment.number("REMIT_DEADLINE_MARGIN_MS", 100..=60_000)?,
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const GOOD: [(&str, &str); 6] = [
        ("REMIT_QUEUE_URL", "https://queue"),
        ("REMIT_DEAD_LETTER_QUEUE_URL", "https://dead-letters"),
        ("REMIT_RECEIVE_COUNT_MAX", "5"),
        ("REMIT_RETRY_DELAY_SECONDS", "30"),
        ("REMIT_CONCURRENCY", "64"),
        ("REMIT_DEADLINE_MARGIN_MS", "3000"),
    ];

    #[test]
    fn every_variable_is_required_and_named_by_its_error() {
        assert!(Settings::read(&BTreeMap::from(GOOD)).is_ok());
        for (variable, _) in GOOD {
            let mut environment = BTreeMap::from(GOOD);
            environment.remove(variable);
            assert_eq!(Settings::read(&environment).unwrap_err().variable, variable);
        }
    }

    #[test]
    fn numbers_have_ranges() {
        for (variable, value) in [
            ("REMIT_RECEIVE_COUNT_MAX", "0"),
            ("REMIT_RECEIVE_COUNT_MAX", "1001"),
            ("REMIT_RETRY_DELAY_SECONDS", "-1"),
            ("REMIT_RETRY_DELAY_SECONDS", "901"),
            ("REMIT_CONCURRENCY", "0"),
            ("REMIT_DEADLINE_MARGIN_MS", "99"),
        ] {
            let mut environment = BTreeMap::from(GOOD);
            environment.insert(variable, value);
            assert_eq!(Settings::read(&environment).unwrap_err().variable, variable);
        }
    }
}
