//! When two bodies are the same payment.
//!
//! They are when their canonical forms are equal: names sorted, numbers and amounts in one spelling,
//! every property included. Both sides are always brought into the form by the running rule; no form
//! and no hash of one is ever stored, so a change of the rule never turns an honest retry into a
//! conflict.

use crate::json::{Json, Object};
use crate::refusal::{FIELDS_MAX, join};

/// The canonical form of a body.
#[must_use]
pub fn form(body: &Object) -> Object {
    let property = |(name, value): (&String, &Json)| {
        let value = match value {
            Json::String(amount) if name == "amount" => {
                Json::String(plain_amount(amount).to_owned())
            }
            Json::Null
            | Json::Bool(_)
            | Json::Number(_)
            | Json::String(_)
            | Json::Array(_)
            | Json::Object(_) => normal(value),
        };
        (name.clone(), value)
    };
    body.iter().map(property).collect()
}

/// Paths of the properties in which two bodies differ; empty when they are the same payment.
#[must_use]
pub fn differences(stored: &Object, received: &Object) -> Vec<String> {
    let mut fields = Vec::new();
    compare_objects(&form(stored), &form(received), "", &mut fields);
    fields.truncate(FIELDS_MAX);
    fields
}

fn normal(value: &Json) -> Json {
    match value {
        Json::Null | Json::Bool(_) | Json::String(_) => value.clone(),
        Json::Number(number) => Json::Number(number.canonical()),
        Json::Array(items) => Json::Array(items.iter().map(normal).collect()),
        Json::Object(members) => Json::Object(
            members.iter().map(|(name, value)| (name.clone(), normal(value))).collect(),
        ),
    }
}

/// `10.50` and `10.5` are one amount: trailing zeros of the fraction say nothing.
fn plain_amount(amount: &str) -> &str {
    if amount.contains('.') { amount.trim_end_matches('0').trim_end_matches('.') } else { amount }
}

fn compare_objects(stored: &Object, received: &Object, parent: &str, fields: &mut Vec<String>) {
    let mut names: Vec<&String> = stored.keys().chain(received.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let path =
            if parent.is_empty() { join(name, "") } else { format!("{parent}.{}", join(name, "")) };
        match (stored.get(name), received.get(name)) {
            (Some(Json::Object(stored)), Some(Json::Object(received))) => {
                compare_objects(stored, received, &path, fields);
            }
            (stored, received) if stored == received => {}
            (_, _) => fields.push(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse_object;

    fn check(stored: &str, received: &str, fields: &[&str]) {
        let differences =
            differences(&parse_object(stored).unwrap(), &parse_object(received).unwrap());
        assert_eq!(differences, fields, "{stored} {received}");
    }

    #[test]
    fn order_white_space_and_spelling_of_amounts_and_numbers_make_no_difference() {
        check(r#"{"a":1,"b":"x"}"#, "{ \"b\" : \"\\u0078\",\n\"a\":1.0}", &[]);
        check(r#"{"amount":"10.5"}"#, r#"{"amount":"10.50000"}"#, &[]);
        check(r#"{"amount":"100"}"#, r#"{"amount":"100.00"}"#, &[]);
        check(r#"{"new":{"list":[1,{"n":2e1}]}}"#, r#"{"new":{"list":[1.0,{"n":20}]}}"#, &[]);
    }

    #[test]
    fn every_other_difference_is_named() {
        check(r#"{"amount":"100"}"#, r#"{"amount":"10"}"#, &["amount"]);
        check(r#"{"amount":"1.01"}"#, r#"{"amount":"1.10"}"#, &["amount"]);
        check(r#"{"a":"1.50"}"#, r#"{"a":"1.5"}"#, &["a"]);
        check(r#"{"a":{"amount":"1.50"}}"#, r#"{"a":{"amount":"1.5"}}"#, &["a.amount"]);
        check(r#"{"a":1}"#, r#"{"a":"1"}"#, &["a"]);
        check(r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#, &["a"]);
        check(r#"{"a":{"b":1,"c":2},"d":3}"#, r#"{"a":{"b":1,"c":3},"e":3}"#, &["a.c", "d", "e"]);
        check(r#"{"a":null}"#, "{}", &["a"]);
        check(r#"{"a":"é"}"#, "{\"a\":\"e\u{301}\"}", &["a"]);
    }
}
