//! Configuration, from the environment.

use function::environment::{BadVariable, Environment};

/// Bytes that the cursors' key has at least: as many as the signature.
const CURSOR_KEY_BYTES_MIN: usize = 32;

/// What the function must know.
#[derive(Clone)]
pub struct Config {
    /// `REMIT_PAYMENTS_TABLE`: name of the table of payments.
    pub payments_table: String,
    /// `REMIT_REFUSALS_TABLE`: name of the table of refused and held payments.
    pub refusals_table: String,
    /// `REMIT_CURSOR_KEY`: signs the cursors. A new one makes the cursors that clients hold useless.
    pub cursor_key: String,
    /// `REMIT_ALLOWED_ORIGIN`: the origin whose pages may read the answers.
    pub allowed_origin: String,
    /// `REMIT_BATCH_WINDOW_SECONDS`: how long payments are gathered before they are processed: a
    /// client that asks sooner asks in vain.
    pub batch_window_seconds: u32,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// The first variable that is missing or wrong.
    pub fn read(environment: &impl Environment) -> Result<Config, BadVariable> {
        let cursor_key = environment.text("REMIT_CURSOR_KEY")?;
        if cursor_key.len() < CURSOR_KEY_BYTES_MIN {
            let problem = format!("must have at least {CURSOR_KEY_BYTES_MIN} bytes");
            return Err(BadVariable { variable: "REMIT_CURSOR_KEY", problem });
        }
        Ok(Config {
            payments_table: environment.text("REMIT_PAYMENTS_TABLE")?,
            refusals_table: environment.text("REMIT_REFUSALS_TABLE")?,
            cursor_key,
            allowed_origin: environment.text("REMIT_ALLOWED_ORIGIN")?,
            // Lambda's range of a batching window.
            batch_window_seconds: environment.number("REMIT_BATCH_WINDOW_SECONDS", 0..=300)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const GOOD: [(&str, &str); 5] = [
        ("REMIT_PAYMENTS_TABLE", "PaymentsTable"),
        ("REMIT_REFUSALS_TABLE", "RefusalsTable"),
        ("REMIT_CURSOR_KEY", "0123456789abcdef0123456789abcdef"),
        ("REMIT_ALLOWED_ORIGIN", "https://example.com"),
        ("REMIT_BATCH_WINDOW_SECONDS", "20"),
    ];

    #[test]
    fn every_variable_is_required_and_named_by_its_error() {
        assert!(Config::read(&BTreeMap::from(GOOD)).is_ok());
        for (variable, _) in GOOD {
            let mut environment = BTreeMap::from(GOOD);
            environment.remove(variable);
            assert_eq!(Config::read(&environment).err().unwrap().variable, variable);
        }
    }

    #[test]
    fn a_short_key_and_an_impossible_window_are_refused() {
        for (variable, value) in [
            ("REMIT_CURSOR_KEY", "0123456789abcdef0123456789abcde"),
            ("REMIT_BATCH_WINDOW_SECONDS", "301"),
        ] {
            let mut environment = BTreeMap::from(GOOD);
            environment.insert(variable, value);
            let error = Config::read(&environment).err().unwrap();
            assert_eq!(error.variable, variable);
            assert!(!error.to_string().contains(value));
        }
    }
}
