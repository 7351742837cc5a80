//! JSON as a payment may carry it: strict where money could be lost, open for what we do not know.
//!
//! `serde_json::Value` keeps the last of two equal keys and rounds numbers to `f64`. Both would store
//! something else than what the client sent, so bodies are read into [`Json`] instead.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bigdecimal::BigDecimal;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::refusal::Refusal;

/// The properties of an object, sorted by name.
pub type Object = BTreeMap<String, Json>;

/// Levels of objects and lists that a body may nest. DynamoDB's limit is 32 and the item is one.
pub const DEPTH_MAX: usize = 30;

/// Significant digits of a number, DynamoDB's limit.
pub const NUMBER_DIGITS_MAX: usize = 38;

/// Characters a number may be written with. DynamoDB's numbers need fewer; the bound keeps the
/// conversion of a hostile number cheap.
const NUMBER_LENGTH_MAX: usize = 256;

/// Decimal exponents of a number's first digit, DynamoDB's limits.
const NUMBER_EXPONENTS: std::ops::RangeInclusive<i64> = -130..=125;

/// One JSON value. Its `Debug` form is blank: what a payment says never reaches a log.
#[derive(Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, exactly as it was written.
    Number(Number),
    /// A string, its escapes resolved.
    String(String),
    /// A list.
    Array(Vec<Json>),
    /// An object without duplicate names.
    Object(Object),
}

impl fmt::Debug for Json {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("_")
    }
}

/// A number that DynamoDB stores without loss, exactly as it was written.
#[derive(Clone, PartialEq, Eq)]
pub struct Number(String);

/// Reads a body that must be exactly one JSON object.
///
/// # Errors
/// [`Refusal::Malformed`] when it is not, when an object names a property twice, or when it nests
/// deeper than [`DEPTH_MAX`]; [`Refusal::Invalid`] for a number that DynamoDB would not keep.
pub fn parse_object(body: &str) -> Result<Object, Refusal> {
    parse_members(body, 1)
}

/// The one text that a body has under this name, for a body that may break every rule: a byte-order
/// mark, other names that stand twice, values that cannot be read, and text behind the object do not
/// matter. `None` when the name stands nowhere at the top level, or when the body might mean another
/// text as well.
#[must_use]
pub fn only_text(body: &str, name: &str) -> Option<String> {
    let body = body.strip_prefix('\u{feff}').unwrap_or(body);
    let mut values = serde_json::Deserializer::from_str(body).into_iter();
    let Members(members) = values.next()?.ok()?;
    let mut named = members.into_iter().filter(|(known, _)| known == name);
    let (_, value) = named.next()?;
    let is_only = named.next().is_none() && !body[values.byte_offset()..].contains(name);
    if is_only { serde_json::from_str(value.get()).ok() } else { None }
}

fn parse_members(text: &str, depth: usize) -> Result<Object, Refusal> {
    if depth > DEPTH_MAX {
        return Err(Refusal::Malformed { rule: "must not nest deeper than 30 levels" });
    }
    let not_an_object = |_| Refusal::Malformed { rule: "must be exactly one JSON object" };
    let Members(members) = serde_json::from_str(text).map_err(not_an_object)?;
    let mut object = Object::new();
    for (name, raw) in members {
        let value = parse_value(raw.get(), depth).map_err(|refusal| refusal.under(&name))?;
        if object.insert(name, value).is_some() {
            return Err(Refusal::Malformed { rule: "must not name a property twice" });
        }
    }
    Ok(object)
}

fn parse_value(text: &str, depth: usize) -> Result<Json, Refusal> {
    let malformed = |_| Refusal::Malformed { rule: "must be valid JSON" };
    match text.as_bytes().first() {
        Some(b'{') => parse_members(text, depth + 1).map(Json::Object),
        Some(b'[') if depth == DEPTH_MAX => {
            Err(Refusal::Malformed { rule: "must not nest deeper than 30 levels" })
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(malformed)?;
            let item = |(index, raw): (usize, &RawValue)| {
                parse_value(raw.get(), depth + 1)
                    .map_err(|refusal| refusal.under(&format!("[{index}]")))
            };
            items.into_iter().enumerate().map(item).collect::<Result<_, _>>().map(Json::Array)
        }
        Some(b'"') => serde_json::from_str(text).map_err(malformed).map(Json::String),
        Some(b't' | b'f') => serde_json::from_str(text).map_err(malformed).map(Json::Bool),
        Some(b'n') => Ok(Json::Null),
        _ => Number::parse(text).map(Json::Number).ok_or_else(|| Refusal::Invalid {
            field: String::new(),
            rule: "must be a number of at most 38 significant digits between 1E-130 and 1E+126",
        }),
    }
}

/// Numbers are written as they were read.
impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(value) => serializer.serialize_bool(*value),
            Json::Number(Number(text)) => {
                let raw = RawValue::from_string(text.clone());
                raw.map_err(serde::ser::Error::custom)?.serialize(serializer)
            }
            Json::String(text) => serializer.serialize_str(text),
            Json::Array(items) => serializer.collect_seq(items),
            Json::Object(members) => serializer.collect_map(members),
        }
    }
}

impl Json {
    /// Bytes that this value takes in an item, by DynamoDB's published sizing rules.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        match self {
            Json::Null | Json::Bool(_) => 1,
            Json::Number(number) => number.digits() / 2 + 3,
            Json::String(text) => text.len(),
            Json::Array(items) => {
                3 + items.iter().map(|item| 1 + item.stored_bytes()).sum::<usize>()
            }
            Json::Object(members) => 3 + stored_bytes(members),
        }
    }
}

/// Bytes that an object's properties take in an item: names and values, one more for each.
#[must_use]
pub fn stored_bytes(object: &Object) -> usize {
    object.iter().map(|(name, value)| 1 + name.len() + value.stored_bytes()).sum()
}

impl Number {
    /// Reads a JSON number or a number as DynamoDB returns it; `None` when DynamoDB cannot keep it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Number> {
        if text.len() > NUMBER_LENGTH_MAX {
            return None;
        }
        let number = Number(text.to_owned());
        let (digits, exponent) =
            BigDecimal::from_str(text).ok()?.normalized().into_bigint_and_exponent();
        let count = digits.magnitude().to_string().len();
        let leading = i64::try_from(count).ok()? - 1 - exponent;
        let fits = count <= NUMBER_DIGITS_MAX && NUMBER_EXPONENTS.contains(&leading);
        fits.then_some(number)
    }

    /// The number as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text for every spelling of the same value: `1.50`, `15e-1` and `1.5` are equal.
    #[must_use]
    pub fn canonical(&self) -> Number {
        BigDecimal::from_str(&self.0).map_or_else(
            |_| self.clone(),
            |value| {
                let (digits, exponent) = value.normalized().into_bigint_and_exponent();
                Number(format!("{digits}E{}", -exponent))
            },
        )
    }

    fn digits(&self) -> usize {
        self.0.bytes().filter(u8::is_ascii_digit).count().min(NUMBER_DIGITS_MAX)
    }
}

/// The members of an object with their values unread, in order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_object_without_duplicates_is_read() {
        let check = |body: &str, rule: &str| match parse_object(body) {
            Err(Refusal::Malformed { rule: given }) => assert_eq!(given, rule, "{body}"),
            other => panic!("{body}: {other:?}"),
        };
        let not_one = "must be exactly one JSON object";
        for body in ["", " ", "null", "[]", r#"["x",1]"#, r#""str""#, "1", "{", "{}{}", "{} x"] {
            check(body, not_one);
        }
        for body in ["\u{feff}{}", r#"{"a":NaN}"#, r#"{"a":1,}"#, "{'a':1}", r#"{"a":01}"#] {
            check(body, not_one);
        }
        check(r#"{"a":"\ud800"}"#, "must be valid JSON");
        check(r#"{"a":1,"a":1}"#, "must not name a property twice");
        check(r#"{"a":1,"\u0061":2}"#, "must not name a property twice");
        check(r#"{"a":[{"b":{"c":1,"c":2}}]}"#, "must not name a property twice");
    }

    #[test]
    fn a_text_is_found_in_a_body_that_cannot_be_stored() {
        let check = |body: &str, found: Option<&str>| {
            assert_eq!(only_text(body, "id").as_deref(), found, "{body}");
        };
        for body in [
            r#"{"id":"x","a":1,"a":2}"#,
            r#"{"a":{"id":"y"},"id":"x"}"#,
            "\u{feff}{\"id\":\"x\"}",
            r#"{"a":"\ud800","id":"x"}"#,
            r#"{"id":"x"}{}"#,
            r#"{"id":"x"} trailing"#,
            r#"{"a":1e999,"i\u0064":"\u0078"}"#,
            &format!(r#"{{"id":"x","a":{}{}}}"#, "[".repeat(200), "]".repeat(200)),
        ] {
            check(body, Some("x"));
        }
        for body in [
            "",
            "[]",
            r#"["id","x"]"#,
            r#"{"id":"x""#,
            r#"{"id":"x","id":"x"}"#,
            r#"{"id":"x","i\u0064":"y"}"#,
            r#"{"id":1}"#,
            r#"{"id":"\ud800"}"#,
            r#"{"a":{"id":"x"}}"#,
            r#"{"id":"x"}{"id":"y"}"#,
        ] {
            check(body, None);
        }
    }

    #[test]
    fn thirty_levels_are_read_and_more_are_refused() {
        let lists =
            |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        let objects =
            |depth: usize| format!("{}{}", "{\"a\":".repeat(depth) + "1", "}".repeat(depth));
        for make in [&lists as &dyn Fn(usize) -> String, &objects] {
            assert!(parse_object(&make(30)).is_ok());
            for depth in [31, 200, 20_000] {
                let refused = parse_object(&make(depth));
                assert!(matches!(refused, Err(Refusal::Malformed { .. })), "{depth}");
            }
        }
    }

    #[test]
    fn numbers_are_kept_as_written_and_refused_beyond_what_dynamodb_keeps() {
        let check =
            |text: &str, kept: bool| assert_eq!(Number::parse(text).is_some(), kept, "{text}");
        for text in ["0", "-0", "1", "-1.50", "1e3", "1E+125", "1e-130", &"9".repeat(38), "0.1"] {
            check(text, true);
        }
        check(&format!("1{}", "0".repeat(100)), true);
        for text in [&"9".repeat(39), "1e126", "1e-131", "1e99999999999999999999", "", "-", "NaN"] {
            check(text, false);
        }
        check(&"1".repeat(100_000), false);
        check(&format!("1.{}", "0".repeat(NUMBER_LENGTH_MAX - 2)), true);
        check(&format!("1.{}", "0".repeat(NUMBER_LENGTH_MAX - 1)), false);
        let field = parse_object(r#"{"a":{"b":[1,1e999]}}"#).unwrap_err();
        assert_eq!(field.fields(), ["a.b[1]"]);
    }

    #[test]
    fn stored_bytes_follow_dynamodbs_rules() {
        for (value, bytes) in [
            ("null", 1),
            ("true", 1),
            (r#""""#, 0),
            (r#""é🚀""#, 6),
            ("7", 3),
            ("-12.345", 5),
            (&"9".repeat(38), 22),
            (&format!("0.{}1", "0".repeat(60)), 22),
            ("[]", 3),
            (r#"["a","b"]"#, 7),
            ("{}", 3),
            (r#"{"ab":"c","d":[7]}"#, 3 + (1 + 2 + 1) + (1 + 1 + 3 + 1 + 3)),
        ] {
            let object = parse_object(&format!(r#"{{"name":{value}}}"#)).unwrap();
            assert_eq!(stored_bytes(&object), 1 + 4 + bytes, "{value}");
        }
    }

    #[test]
    fn what_was_read_is_written_again() {
        let number = "12345678901234567890123456789012345678";
        let body = format!(r#"{{"a":[null,true,"\n\"ü",{number},-1.50e+3],"b":{{"c":0.10}}}}"#);
        let read = parse_object(&body).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), body);
    }

    #[test]
    fn equal_numbers_have_one_canonical_spelling() {
        let canonical = |text: &str| Number::parse(text).unwrap().canonical();
        for (one, other) in [("1.5", "1.50"), ("15e-1", "1.5"), ("0", "-0.0e9"), ("100", "1E2")] {
            assert!(canonical(one) == canonical(other), "{one} {other}");
        }
        assert!(canonical("0.1") != canonical("0.10000000000000000000000000000000000001"));
    }
}
