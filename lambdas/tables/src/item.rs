//! A payment as an item: the body's properties as attributes, unmodified, beside ours, whose names
//! begin with an underscore.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use schema::json::{Json, Number, Object};
use schema::payment::{Payment, RESERVED_PREFIX};
use schema::timestamp::rfc3339;
use serde::Serialize;

use crate::failure::Failure;

/// Attributes by name.
pub type Item = HashMap<String, AttributeValue>;

/// What is known of a submission beside its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Id of the request; where the message names none, the id of the message.
    pub request_id: String,
    /// Id of the message as the client was told.
    pub message_id: String,
    /// When it was accepted, in milliseconds since 1970-01-01 UTC.
    pub accepted_at_ms: i64,
    /// MD5 of the body in hexadecimal, as the queue computed it.
    pub body_md5: String,
    /// Version of the contract that the gateway validated it against.
    pub schema_version: u32,
}

/// A stored payment with what we know of its submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentItem {
    /// The request that stored it.
    pub request_id: String,
    /// MD5 of its body in hexadecimal.
    pub body_md5: String,
    /// When it was accepted (RFC 3339, UTC, milliseconds).
    pub accepted_at: String,
    /// When it was stored (RFC 3339, UTC, milliseconds).
    pub stored_at: String,
    /// The body's properties.
    pub body: Object,
}

/// Our attributes of a payment's item.
#[derive(Serialize)]
struct Stamp {
    #[serde(rename = "_amountMinor")]
    amount_minor: u64,
    #[serde(rename = "_acceptedAt")]
    accepted_at: String,
    #[serde(rename = "_storedAt")]
    stored_at: String,
    #[serde(rename = "_requestId")]
    request_id: String,
    #[serde(rename = "_messageId")]
    message_id: String,
    #[serde(rename = "_bodyMd5")]
    body_md5: String,
    #[serde(rename = "_schemaVersion")]
    schema_version: u32,
}

/// The item that stores a payment.
#[must_use]
pub fn of_payment(payment: &Payment, submission: &Submission, now_ms: i64) -> Item {
    let stamp = Stamp {
        amount_minor: payment.amount_minor(),
        accepted_at: rfc3339(submission.accepted_at_ms),
        stored_at: rfc3339(now_ms),
        request_id: submission.request_id.clone(),
        message_id: submission.message_id.clone(),
        body_md5: submission.body_md5.clone(),
        schema_version: submission.schema_version,
    };
    let mut item: Item = serde_dynamo::to_item(stamp).expect("strings and numbers are attributes");
    let property = |(name, value): (&String, &Json)| (name.clone(), attribute_of(value));
    item.extend(payment.body().iter().map(property));
    item
}

/// Reads a payment's item.
///
/// # Errors
/// When we cannot have written the item.
pub fn read_payment(item: Item) -> Result<PaymentItem, Failure> {
    Ok(PaymentItem {
        request_id: text_of(&item, "_requestId")?,
        body_md5: text_of(&item, "_bodyMd5")?,
        accepted_at: text_of(&item, "_acceptedAt")?,
        stored_at: text_of(&item, "_storedAt")?,
        body: item
            .into_iter()
            .filter(|(name, _)| !name.starts_with(RESERVED_PREFIX))
            .map(|(name, value)| Ok((name, json_of(value)?)))
            .collect::<Result<Object, Failure>>()?,
    })
}

/// A string as an attribute.
pub(crate) fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

/// A string attribute of an item.
///
/// # Errors
/// When it is missing, or no string.
pub(crate) fn text_of(item: &Item, name: &'static str) -> Result<String, Failure> {
    match item.get(name) {
        Some(AttributeValue::S(text)) => Ok(text.clone()),
        _ => Err(Failure::unreadable(name)),
    }
}

fn attribute_of(value: &Json) -> AttributeValue {
    match value {
        Json::Null => AttributeValue::Null(true),
        Json::Bool(value) => AttributeValue::Bool(*value),
        Json::Number(number) => AttributeValue::N(number.as_str().to_owned()),
        Json::String(text) => AttributeValue::S(text.clone()),
        Json::Array(items) => AttributeValue::L(items.iter().map(attribute_of).collect()),
        Json::Object(members) => {
            let member = |(name, value): (&String, &Json)| (name.clone(), attribute_of(value));
            AttributeValue::M(members.iter().map(member).collect())
        }
    }
}

fn json_of(value: AttributeValue) -> Result<Json, Failure> {
    match value {
        AttributeValue::Null(_) => Ok(Json::Null),
        AttributeValue::Bool(value) => Ok(Json::Bool(value)),
        AttributeValue::N(text) => {
            Number::parse(&text).map(Json::Number).ok_or(Failure::unreadable("a number"))
        }
        AttributeValue::S(text) => Ok(Json::String(text)),
        AttributeValue::L(items) => {
            items.into_iter().map(json_of).collect::<Result<_, _>>().map(Json::Array)
        }
        AttributeValue::M(members) => members
            .into_iter()
            .map(|(name, value)| Ok((name, json_of(value)?)))
            .collect::<Result<_, Failure>>()
            .map(Json::Object),
        _ => Err(Failure::unreadable("a type that no body has")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission() -> Submission {
        Submission {
            request_id: "r-1".to_owned(),
            message_id: "m-1".to_owned(),
            accepted_at_ms: 1_790_000_000_123,
            body_md5: "0cc175b9c0f1b6a831c399e269772661".to_owned(),
            schema_version: 1,
        }
    }

    #[test]
    fn every_property_is_an_attribute_and_is_read_again() {
        for text in [
            include_str!("../../../tests/fixtures/payment-v1.json"),
            include_str!("../../../tests/fixtures/payment-minimal-v1.json"),
            include_str!("../../../tests/fixtures/payment-from-newer-gateway.json"),
        ] {
            let payment = Payment::parse(text, 0).unwrap();
            let item = of_payment(&payment, &submission(), 1_790_000_000_999);
            assert_eq!(item.len(), payment.body().len() + 7);
            let stored = read_payment(item).unwrap();
            assert_eq!(stored.request_id, "r-1");
            assert_eq!(stored.body_md5, submission().body_md5);
            assert_eq!(stored.accepted_at, "2026-09-21T14:13:20.123Z");
            assert_eq!(stored.stored_at, "2026-09-21T14:13:20.999Z");
            assert!(stored.body == *payment.body());
        }
    }

    #[test]
    fn our_attributes_have_their_names_types_and_units() {
        let text = include_str!("../../../tests/fixtures/payment-v1.json");
        let item = of_payment(&Payment::parse(text, 0).unwrap(), &submission(), 1_790_000_000_999);
        for (name, value) in [
            ("_amountMinor", AttributeValue::N("123450".to_owned())),
            ("_acceptedAt", AttributeValue::S("2026-09-21T14:13:20.123Z".to_owned())),
            ("_storedAt", AttributeValue::S("2026-09-21T14:13:20.999Z".to_owned())),
            ("_requestId", AttributeValue::S("r-1".to_owned())),
            ("_messageId", AttributeValue::S("m-1".to_owned())),
            ("_bodyMd5", AttributeValue::S("0cc175b9c0f1b6a831c399e269772661".to_owned())),
            ("_schemaVersion", AttributeValue::N("1".to_owned())),
            ("amount", AttributeValue::S("1234.50".to_owned())),
        ] {
            assert_eq!(item.get(name), Some(&value), "{name}");
        }
    }

    #[test]
    fn an_item_that_we_did_not_write_is_an_error() {
        let text = include_str!("../../../tests/fixtures/payment-minimal-v1.json");
        let item = of_payment(&Payment::parse(text, 0).unwrap(), &submission(), 0);
        let check = |name: &str, value: Option<AttributeValue>| {
            let mut item = item.clone();
            match value {
                Some(value) => item.insert(name.to_owned(), value),
                None => item.remove(name),
            };
            assert!(read_payment(item).is_err(), "{name}");
        };
        for name in ["_requestId", "_bodyMd5", "_acceptedAt", "_storedAt"] {
            check(name, None);
        }
        check("_requestId", Some(AttributeValue::N("1".to_owned())));
        check("other", Some(AttributeValue::Ss(vec!["x".to_owned()])));
        check("other", Some(AttributeValue::N("x".to_owned())));
        assert!(read_payment(Item::new()).is_err());
    }
}
