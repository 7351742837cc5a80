//! The strings a payment is made of: one type for each rule.
//!
//! What a rule's pattern and lengths can say is checked here and written into the document from the
//! same constants, so that the gateway and the functions cannot disagree. What they cannot say (check
//! digits, calendars, the list of currencies) is checked here only.

use std::sync::LazyLock;

use iban::{Iban, IbanLike, ParseIbanError};
use regex::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use time::Date;
use time::macros::format_description;

use crate::currency::minor_unit_digits;
use crate::json::Json;
use crate::refusal::Refusal;

/// A value that is read from JSON or refused with the name of the property at fault.
pub(crate) trait Parse: Sized {
    /// Reads one value; the refusal's field is relative to it.
    fn parse(value: &Json) -> Result<Self, Refusal>;
}

/// A refusal of the value itself; its parents add their names on the way up.
pub(crate) fn invalid(rule: &'static str) -> Refusal {
    Refusal::Invalid { field: String::new(), rule }
}

/// Any text without what SQS refuses (control characters other than tab and line breaks, U+FFFE,
/// U+FFFF), without the other control characters of Unicode, and without U+FFFD, which is what a text in
/// a wrong encoding turns into. The escapes are those of ECMA 262, in which a document's patterns are
/// written.
const PRINTABLE: &str = r"^[^\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F\uFFFD-\uFFFF]+$";

/// Defines a string type from its pattern, its lengths in characters, an example, the rule in words,
/// and the part of the rule that no pattern can say.
macro_rules! text {
    ($(#[doc = $doc:literal])+ $name:ident {
        pattern: $pattern:expr, length: $min:literal..=$max:literal, example: $example:literal,
        rule: $rule:literal $(, only_here: $only_here:expr)? $(,)?
    }) => {
        $(#[doc = $doc])+
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(String);

        /// Blank: what a payment says never reaches a log.
        impl std::fmt::Debug for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(concat!(stringify!($name), "(_)"))
            }
        }

        impl $name {
            /// The text, byte for byte as it was sent.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Parse for $name {
            fn parse(value: &Json) -> Result<Self, Refusal> {
                static PATTERN: LazyLock<Regex> =
                    LazyLock::new(|| Regex::new($pattern).expect("the patterns are ours"));
                let Json::String(text) = value else { return Err(invalid("must be a string")) };
                let fits = ($min..=$max).contains(&text.chars().count()) && PATTERN.is_match(text);
                $(let fits = fits && $only_here(text);)?
                if fits { Ok($name(text.clone())) } else { Err(invalid($rule)) }
            }
        }

        /// Reads the text of a parameter.
        impl std::str::FromStr for $name {
            type Err = Refusal;

            fn from_str(text: &str) -> Result<Self, Refusal> {
                Self::parse(&Json::String(text.to_owned()))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "pattern": $pattern,
                    "minLength": $min,
                    "maxLength": $max,
                    "example": $example,
                })
            }
        }
    };
}

text! {
    /// The idempotency key: a UUID of versions 1 to 8 (RFC 9562), chosen by the client.
    PaymentId {
        pattern: "^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
        length: 36..=36,
        example: "0b9f6a1e-6c1d-4a57-9f0e-2f6d3c1b8a90",
        rule: "must be a lower-case UUID",
    }
}

text! {
    /// A user: the subject of a token. Cognito's subjects look like UUIDs without being of a version.
    UserId {
        pattern: "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        length: 36..=36,
        example: "5f2c8d34-1b7e-4e0a-8c55-90d1e2f3a4b5",
        rule: "must be a lower-case UUID",
    }
}

text! {
    /// An amount in major units (Open Banking UK `OBActiveCurrencyAndAmount`), greater than zero.
    Amount {
        pattern: r"^(0|[1-9][0-9]{0,12})(\.[0-9]{1,5})?$",
        length: 1..=19,
        example: "10.50",
        rule: "must be a decimal string greater than zero, with at most 13 digits before the point \
               and 5 after it",
        only_here: |text: &str| text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)),
    }
}

text! {
    /// What the payment is for, in words.
    Description {
        pattern: PRINTABLE, length: 1..=256, example: "Invoice 4711",
        rule: "must be 1 to 256 characters without control characters and without U+FFFD",
    }
}

text! {
    /// An account's number in its scheme.
    AccountIdentification {
        pattern: PRINTABLE, length: 1..=256, example: "GB33BUKB20201555555555",
        rule: "must be 1 to 256 characters without control characters and without U+FFFD",
    }
}

text! {
    /// The name of an account's holder.
    AccountName {
        pattern: PRINTABLE, length: 1..=350, example: "Ada Lovelace",
        rule: "must be 1 to 350 characters without control characters and without U+FFFD",
    }
}

text! {
    /// A reference of at most 35 characters (ISO 20022 `Max35Text`).
    Max35Text {
        pattern: PRINTABLE, length: 1..=35, example: "INV-4711",
        rule: "must be 1 to 35 characters without control characters and without U+FFFD",
    }
}

text! {
    /// A line of remittance information (ISO 20022 `Max140Text`).
    Max140Text {
        pattern: PRINTABLE, length: 1..=140, example: "Goods delivered in October",
        rule: "must be 1 to 140 characters without control characters and without U+FFFD",
    }
}

text! {
    /// A day of the Gregorian calendar, `YYYY-MM-DD` (RFC 3339 full-date), from the year 1000 on. The
    /// example is so far away that it is a day to execute a payment on for a long time.
    CalendarDate {
        pattern: "^[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$",
        length: 10..=10,
        example: "2099-12-24",
        rule: "must be a date of the calendar, YYYY-MM-DD",
        only_here: |text: &str| {
            Date::parse(text, format_description!("[year]-[month]-[day]")).is_ok()
        },
    }
}

text! {
    /// The ISO 4217 alphabetic code of money in circulation.
    CurrencyCode {
        pattern: "^[A-Z]{3}$", length: 3..=3, example: "GBP",
        rule: "must be the ISO 4217 code of a currency in circulation",
        only_here: |text: &str| minor_unit_digits(text).is_some(),
    }
}

impl CurrencyCode {
    /// Decimals of the currency's minor unit: 2 for GBP, 0 for JPY.
    #[must_use]
    pub fn minor_unit_digits(&self) -> usize {
        minor_unit_digits(&self.0).unwrap_or_default()
    }
}

impl Amount {
    /// The amount in minor units of a currency with that many decimals; `None` when the amount has
    /// more decimals than that. 13 digits and 5 decimals always fit.
    #[must_use]
    pub fn minor_units(&self, digits: usize) -> Option<u64> {
        let (major, fraction) = self.0.split_once('.').unwrap_or((&self.0, ""));
        let missing = digits.checked_sub(fraction.len())?;
        format!("{major}{fraction}{}", "0".repeat(missing)).parse().ok()
    }
}

/// Countries that the SWIFT IBAN registry (release 102, June 2026) has and the crate does not.
const MORE_IBANS: &str = "^(HN[0-9]{2}[A-Z]{4}[0-9]{20}|PK[0-9]{2}[A-Z]{4}[0-9A-Z]{16})$";

/// Whether a text is an IBAN (ISO 13616) of a country of the SWIFT registry: its length and structure are
/// the country's, its check digits right, all in upper case and without spaces.
pub(crate) fn is_iban(text: &str) -> bool {
    static MORE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(MORE_IBANS).expect("the pattern is ours"));
    let is_registered = match text.parse::<Iban>() {
        // The crate also reads lower case and groups of four.
        Ok(iban) => iban.electronic_str() == text,
        // Its check digits are right.
        Err(ParseIbanError::UnknownCountry(_)) => MORE.is_match(text),
        Err(ParseIbanError::InvalidBaseIban { .. } | ParseIbanError::InvalidBban(_)) => false,
    };
    // Check digits are 02 to 98. With 99 instead of 02 the remainder is the same, and the crate lets it pass.
    is_registered && text.get(2..4) != Some("99")
}
