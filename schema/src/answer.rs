//! What the API answers. The gateway writes these bodies from the document's templates; the types are
//! where the document's schemas of them come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// What went wrong, for people; names the property at fault.
    pub message: String,
    /// Our id of this request, for questions about it.
    pub request_id: String,
    /// The property at fault, where a function found it. The gateway names it inside `message`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}
