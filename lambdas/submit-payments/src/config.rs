//! Configuration, from the environment.

use function::environment::{BadVariable, Environment};
use function::settings::Settings;

/// What the function must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `REMIT_PAYMENTS_TABLE`: name of the table of payments.
    pub payments_table: String,
    /// `REMIT_REFUSALS_TABLE`: name of the table of submissions that are not the stored ones.
    pub refusals_table: String,
    /// The queue, and how its batches are processed.
    pub batch: Settings,
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
            batch: Settings::read(environment)?,
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
        ("REMIT_DEAD_LETTER_QUEUE_URL", "https://dead-letters"),
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
}
