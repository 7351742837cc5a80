//! What the API answers. The gateway writes some of these bodies from the document's templates, the
//! query function the others; the types are where the document's schemas of them come from.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::json::Object;

/// The answer to an accepted payment: it is durably queued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// Always `accepted`.
    pub status: String,
    /// The queue's id of the message that holds the payment.
    pub message_id: String,
    /// MD5 of the bytes that were queued, in lower-case hexadecimal: equal to the MD5 of the body
    /// that you sent.
    pub body_md5: String,
    /// Our id of this request. Later answers about this payment name the request they are about.
    pub request_id: String,
}

/// The answer to a request that failed, from every endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Error {
    /// What went wrong, a stable word for programs.
    pub code: String,
    /// What went wrong, for people. Of a body that breaks the schema it says what the gateway's
    /// validator says.
    pub message: String,
    /// Our id of this request, for questions about it.
    pub request_id: String,
    /// The property at fault, where a function found it. The gateway names a missing or an unknown one
    /// inside `message`, and no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// What became of a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentStatus {
    /// `stored`: the payment is stored, once and for good. `duplicate`: another request had stored the
    /// same payment. `refused`: it never will be stored, for the reason given. `held`: it could not be
    /// processed and waits for an operator; do not submit it again. `discarded`: an operator threw it
    /// away or it expired; it is not stored and will not be.
    pub status: Status,
    /// The payment. Absent where the refused body has no readable paymentId.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<String>,
    /// The request that submitted what this answer is about. Only when it is the requestId that your
    /// own PUT was answered, or bodyMd5 is its bodyMd5, is this answer about that PUT.
    pub request_id: String,
    /// MD5 of the body that this answer is about, in lower-case hexadecimal.
    pub body_md5: String,
    /// When the submission was accepted (RFC 3339, UTC).
    pub accepted_at: String,
    /// When this became of it (RFC 3339, UTC).
    pub decided_at: String,
    /// The payment as it was submitted; only with the status `stored`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment: Option<StoredPayment>,
    /// Why, a stable word for programs. With the status `refused`: `malformed`, `invalid`,
    /// `owner_mismatch` or `conflict`; with the status `discarded`: `by_operator` or `expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What became of the submission that is not the stored one, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The properties at fault; only with the status `refused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<String>>,
    /// The other submissions under this paymentId, newest first; only in the answer about one payment
    /// without a `requestId`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_attempts: Option<Vec<Attempt>>,
}

/// A submission that is not the stored one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// `duplicate`, `refused`, `held` or `discarded`.
    pub status: Status,
    /// The request that submitted it.
    pub request_id: String,
    /// MD5 of its body in lower-case hexadecimal.
    pub body_md5: String,
    /// When it was accepted (RFC 3339, UTC).
    pub accepted_at: String,
    /// When this became of it (RFC 3339, UTC).
    pub decided_at: String,
    /// Why it was refused or discarded, a stable word for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What became of it, for people.
    pub message: String,
    /// The properties at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<String>>,
}

/// A page of the caller's payments, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentList {
    /// The payments. There may be fewer than `limit`, even none, although there are more: only a page
    /// without a cursor is the last one.
    pub payments: Vec<PaymentStatus>,
    /// Where the next page begins: repeat the request with the same parameters and this cursor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What can become of a submission that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Stored, once and for good.
    Stored,
    /// The same payment as the stored one, from another request.
    Duplicate,
    /// Refused for good.
    Refused,
    /// In the dead-letter queue, waiting for an operator.
    Held,
    /// Thrown away by an operator, or expired in the dead-letter queue.
    Discarded,
}

impl Status {
    /// Every status by its name.
    pub const NAMES: [(&str, Status); 5] = [
        ("stored", Status::Stored),
        ("duplicate", Status::Duplicate),
        ("refused", Status::Refused),
        ("held", Status::Held),
        ("discarded", Status::Discarded),
    ];
}

impl JsonSchema for Status {
    fn schema_name() -> Cow<'static, str> {
        "Status".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Self::NAMES.map(|(name, _)| name) })
    }
}

/// Every property of a stored payment, as it was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct StoredPayment(pub Object);

/// Open where [`crate::payment::Payment`] is closed: an answer also holds what a newer gateway let in.
impl JsonSchema for StoredPayment {
    fn schema_name() -> Cow<'static, str> {
        "StoredPayment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let required = ["paymentId", "userId", "amount", "currency", "description"];
        let text = required.map(|name| (name.to_owned(), serde_json::json!({ "type": "string" })));
        let properties: serde_json::Map<String, serde_json::Value> = text.into_iter().collect();
        json_schema!({
            "type": "object",
            "description": "A payment as it was submitted: every property of Payment that it was \
                            submitted with, strings such as the amount unchanged, numbers by value. \
                            Ignore properties that you do not know: newer versions may add some.",
            "required": required,
            "properties": properties,
        })
    }
}
