//! A function's configuration: environment variables, read once, each error naming its variable.

use std::fmt::Display;
use std::str::FromStr;

/// A variable that is missing or wrong. It never repeats the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {variable} {problem}")]
pub struct BadVariable {
    /// Name of the variable.
    pub variable: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// Where variables come from: the process, or a test.
pub trait Environment {
    /// The value, when the variable is set and not empty.
    fn value(&self, variable: &str) -> Option<String>;

    /// The value of a variable that must be set.
    ///
    /// # Errors
    /// When it is missing or empty.
    fn text(&self, variable: &'static str) -> Result<String, BadVariable> {
        let missing = || BadVariable { variable, problem: "must be set".to_owned() };
        self.value(variable).ok_or_else(missing)
    }

    /// The number in a variable that must be set.
    ///
    /// # Errors
    /// When it is missing, not a whole number, or out of range.
    fn number<T>(
        &self,
        variable: &'static str,
        range: std::ops::RangeInclusive<T>,
    ) -> Result<T, BadVariable>
    where
        T: FromStr + PartialOrd + Display,
    {
        let text = self.text(variable)?;
        let number = text.parse().ok().filter(|number| range.contains(number));
        let (from, to) = (range.start(), range.end());
        let problem = || format!("must be a whole number from {from} to {to}");
        number.ok_or_else(|| BadVariable { variable, problem: problem() })
    }
}

/// The environment of this process.
#[derive(Debug, Clone, Copy)]
pub struct Process;

impl Environment for Process {
    fn value(&self, variable: &str) -> Option<String> {
        std::env::var(variable).ok().filter(|value| !value.is_empty())
    }
}

impl Environment for std::collections::BTreeMap<&str, &str> {
    fn value(&self, variable: &str) -> Option<String> {
        self.get(variable).map(|value| (*value).to_owned()).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_error_names_the_variable_and_not_its_value() {
        let environment = BTreeMap::from([("EMPTY", ""), ("WORD", "canary"), ("BIG", "11")]);
        let check = |variable: &'static str, error: &str| {
            let given = environment.number(variable, 1..=10_u32).unwrap_err();
            assert_eq!(given.to_string(), format!("environment variable {variable} {error}"));
        };
        check("MISSING", "must be set");
        check("EMPTY", "must be set");
        check("WORD", "must be a whole number from 1 to 10");
        check("BIG", "must be a whole number from 1 to 10");
        assert_eq!(environment.number("BIG", 1..=11_u32), Ok(11));
    }
}
