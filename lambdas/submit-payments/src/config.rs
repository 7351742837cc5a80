//! Configuration, from the environment.

use std::time::Duration;

use tables::environment::{BadVariable, Environment};

/// What the function must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `REMIT_PAYMENTS_TABLE`: name of the table of payments.
    pub payments_table: String,
    /// `REMIT_REFUSALS_TABLE`: name of the table of refused and held payments.
    pub refusals_table: String,
    /// `REMIT_QUEUE_URL`: the queue whose batches are processed.
    pub queue_url: String,
    /// `REMIT_DEAD_LETTER_QUEUE_URL`: where messages go that only an operator can help.
    pub dead_letter_queue_url: String,
    /// `REMIT_RECEIVE_COUNT_MAX`: receives after which a message dies; the redrive policy's value.
    pub receive_count_max: u32,
    /// `REMIT_RETRY_DELAY_SECONDS`: delay before the first retry; later ones wait longer.
    pub retry_delay: Duration,
    /// `REMIT_CONCURRENCY`: records of a batch in progress at once.
    pub concurrency: usize,
    /// `REMIT_DEADLINE_MARGIN_MS`: time before the invocation's end at which no more work is started.
    pub deadline_margin: Duration,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// The first variable that is missing or wrong.
    pub fn read(environment: &impl Environment) -> Result<Config, BadVariable> {
        Ok(Config {
            payments_table: environment.text("REMIT_PAYMENTS_TABLE")?,
            refusals_table: environment.text("REMIT_REFUSALS_TABLE")?,
            queue_url: environment.text("REMIT_QUEUE_URL")?,
            dead_letter_queue_url: environment.text("REMIT_DEAD_LETTER_QUEUE_URL")?,
            // SQS's range of a redrive policy.
            receive_count_max: environment.number("REMIT_RECEIVE_COUNT_MAX", 1..=1000)?,
            // Longer than the longest delay would be no first delay.
            retry_delay: Duration::from_secs(
                environment.number("REMIT_RETRY_DELAY_SECONDS", 0..=900)?,
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

    const GOOD: [(&str, &str); 8] = [
        ("REMIT_PAYMENTS_TABLE", "PaymentsTable"),
        ("REMIT_REFUSALS_TABLE", "RefusalsTable"),
        ("REMIT_QUEUE_URL", "https://queue"),
        ("REMIT_DEAD_LETTER_QUEUE_URL", "https://dlq"),
        ("REMIT_RECEIVE_COUNT_MAX", "5"),
        ("REMIT_RETRY_DELAY_SECONDS", "30"),
        ("REMIT_CONCURRENCY", "64"),
        ("REMIT_DEADLINE_MARGIN_MS", "3000"),
    ];

    #[test]
    fn every_variable_is_required_and_named_by_its_error() {
        assert!(Config::read(&BTreeMap::from(GOOD)).is_ok());
        for (variable, _) in GOOD {
            let mut environment = BTreeMap::from(GOOD);
            environment.remove(variable);
            assert_eq!(Config::read(&environment).unwrap_err().variable, variable);
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
            assert_eq!(Config::read(&environment).unwrap_err().variable, variable);
        }
    }
}
