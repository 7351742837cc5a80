//! Which letters a command is about. Pure.

use std::time::Duration;

use clap::Args;
use function::dead_letter::DeadReason;
use serde::{Serialize, Serializer};

use crate::dlq::letter::Letter;
use crate::error::Error;
use crate::terminal::masked;

/// Which letters a command is about. Without any of these: all. With several: those to which all of them
/// apply. The serialised form is for the audit log, so it masks the user.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// Only those that died of this, as `cargo dlq summary` names it (several: separated by commas).
    #[arg(long, value_name = "REASON", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reason: Vec<String>,

    /// Only those of this paymentId.
    #[arg(long, value_name = "UUID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment: Option<String>,

    /// Only those of this user: the verified one, or without one the user that the body names.
    #[arg(long, value_name = "UUID")]
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "mask")]
    pub user: Option<String>,

    /// Only those that have been in the queue longer than this, as in 30m, 2h or 3d.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than: Option<Duration>,

    /// Only those that have been in the queue for less time than this.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newer_than: Option<Duration>,

    /// Only those that died in this version of the function.
    #[arg(long, value_name = "VERSION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,

    /// Only so many, whichever the queue shows first. The rest of the queue is not read.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,

    /// Whether letters that did not come through the gateway are left out.
    #[arg(skip)]
    #[serde(skip)]
    pub spare_unverified: bool,
}

fn mask<S: Serializer>(user: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&masked(user.as_deref().unwrap_or_default()))
}

impl Filter {
    /// Divides letters into those that it selects, oldest first, and the others.
    #[must_use]
    pub fn divide(&self, letters: Vec<Letter>, now_ms: i64) -> (Vec<Letter>, Vec<Letter>) {
        let (mut selected, mut others): (Vec<_>, Vec<_>) =
            letters.into_iter().partition(|letter| self.selects(letter, now_ms));
        selected.sort_by(|one, other| {
            (one.sent_at_ms, &one.message_id).cmp(&(other.sent_at_ms, &other.message_id))
        });
        if let Some(limit) = self.count_max().filter(|limit| *limit < selected.len()) {
            others.extend(selected.drain(limit..));
        }
        (selected, others)
    }

    /// How many letters at the most.
    #[must_use]
    pub fn count_max(&self) -> Option<usize> {
        self.limit.and_then(|limit| usize::try_from(limit).ok())
    }

    /// Refuses a reason that this version does not know, unless one of these letters died of it.
    ///
    /// # Errors
    /// [`Error::Configuration`] suggests the reason with the most similar name.
    pub fn check_reasons(&self, letters: &[Letter]) -> Result<(), Error> {
        let known = || {
            let known = DeadReason::ALL.iter().map(|reason| reason.name());
            known.chain(letters.iter().map(Letter::reason))
        };
        for reason in &self.reason {
            if known().any(|known| known == reason) {
                continue;
            }
            let distance = |known: &&str| strsim::damerau_levenshtein(known, reason);
            let nearest = known().min_by_key(distance).unwrap_or_default();
            let text = format!("no letter dies of {reason:?}: did you mean {nearest:?}?");
            return Err(Error::Configuration(text));
        }
        Ok(())
    }

    /// Whether all conditions apply to a letter. The limit is none of them.
    #[must_use]
    pub fn selects(&self, letter: &Letter, now_ms: i64) -> bool {
        let age_ms = u64::try_from(now_ms - letter.sent_at_ms).unwrap_or_default();
        let age = Duration::from_millis(age_ms);
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        (self.reason.is_empty() || self.reason.iter().any(|reason| reason == letter.reason()))
            && is(&self.payment, letter.payment_id())
            && is(&self.user, letter.user())
            && is(&self.version, Some(letter.version()))
            && self.older_than.is_none_or(|bound| age > bound)
            && self.newer_than.is_none_or(|bound| age < bound)
            && !(self.spare_unverified && letter.is_unverified())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::letter::tests::{NOTE, letter};

    #[test]
    fn all_conditions_apply_and_the_oldest_come_first() {
        let body = r#"{"paymentId":"p","userId":"u"}"#;
        let mut throttled = letter("a", body, &[("deadLetter", NOTE)], false);
        throttled.sent_at_ms = 1_000;
        let mut moved = letter("b", "", &[("sub", "v")], true);
        moved.sent_at_ms = 500;
        let check = |filter: Filter, expected: &[&str]| {
            let letters = vec![throttled.clone(), moved.clone()];
            let (selected, others) = filter.divide(letters, 61_000);
            let ids: Vec<&str> = selected.iter().map(|letter| letter.message_id.as_str()).collect();
            assert_eq!(ids, expected, "{filter:?}");
            assert_eq!(others.len(), 2 - expected.len());
        };
        let all = Filter::default;
        let some = |text: &str| Some(text.to_owned());
        let reasons = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let seconds = |number| Some(Duration::from_millis(number));
        check(all(), &["b", "a"]);
        check(Filter { limit: Some(1), ..all() }, &["b"]);
        check(Filter { reason: reasons(&["throttled"]), ..all() }, &["a"]);
        check(Filter { reason: reasons(&["unknown", "throttled"]), ..all() }, &["b", "a"]);
        check(Filter { payment: some("p"), ..all() }, &["a"]);
        check(Filter { user: some("u"), ..all() }, &["a"]);
        check(Filter { user: some("v"), ..all() }, &["b"]);
        check(Filter { version: some("7"), ..all() }, &["a"]);
        check(Filter { older_than: seconds(60_000), ..all() }, &["b"]);
        check(Filter { newer_than: seconds(60_001), ..all() }, &["a"]);
        check(Filter { user: some("u"), reason: reasons(&["unknown"]), ..all() }, &[]);
    }

    #[test]
    fn unverified_letters_are_spared() {
        let note = NOTE.replace("throttled", "unverified");
        let letters =
            vec![letter("a", "{}", &[("deadLetter", &note)], false), letter("b", "{}", &[], true)];
        let filter = Filter { spare_unverified: true, ..Filter::default() };
        let (selected, others) = filter.divide(letters, 0);
        assert_eq!((selected[0].message_id.as_str(), selected.len(), others.len()), ("b", 1, 1));
    }

    #[test]
    fn an_unknown_reason_is_refused_unless_a_letter_died_of_it() {
        let note = NOTE.replace("throttled", "moon_phase");
        let letters = [letter("a", "{}", &[("deadLetter", &note)], false)];
        let check = |reason: &str| {
            let filter = Filter { reason: vec![reason.to_owned()], ..Filter::default() };
            filter.check_reasons(&letters).map_err(|error| error.to_string())
        };
        for known in ["throttled", "unknown", "moon_phase"] {
            assert_eq!(check(known), Ok(()));
        }
        for (unknown, nearest) in [
            ("trottled", "throttled"),
            ("table-not-found", "table_not_found"),
            ("moonphase", "moon_phase"),
        ] {
            assert!(check(unknown).unwrap_err().contains(nearest), "{unknown}");
        }
    }

    #[test]
    fn the_audit_log_names_no_user() {
        let user = Some("5f2c8d34-1b7e-4e0a-8c55-90d1e2f3a4b5".to_owned());
        let filter = serde_json::to_value(Filter { user, ..Filter::default() }).unwrap();
        assert_eq!(filter, serde_json::json!({ "user": "5f2c8d34…" }));
    }
}
