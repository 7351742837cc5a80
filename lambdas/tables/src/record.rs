//! What is on record of every submission that is not the stored one: why, and its body as received.

use schema::timestamp::rfc3339;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::item::{Item, Submission};

/// Days for which a record is kept: a year and a month, so that a yearly review finds it.
const KEPT_DAYS: i64 = 400;

/// What became of a submission that is not the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The client's error; final.
    Refused,
    /// The same payment was stored by another request; final.
    Duplicate,
    /// It lies in the dead-letter queue; an operator will re-drive or discard it.
    Held,
    /// An operator threw it away, or it expired in the dead-letter queue.
    Discarded,
}

impl Kind {
    /// The kind's name in records and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Refused => "refused",
            Kind::Duplicate => "duplicate",
            Kind::Held => "held",
            Kind::Discarded => "discarded",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A submission that is not the stored one. Its `Debug` form leaves out the body.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The token's subject, which may not be the user that the body names.
    pub user_id: String,
    /// Sort key: a payment may be refused more than once, a request only once.
    #[serde(rename = "paymentId#requestId")]
    pub payment_and_request: String,
    /// What became of it.
    pub kind: Kind,
    /// The reason's name.
    pub reason: String,
    /// The reason in words, for the client.
    pub message: String,
    /// Paths of the properties at fault.
    pub fields: Vec<String>,
    /// The body as it was received. Absent where a duplicate has the bytes of the stored payment, and in
    /// what an index shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// MD5 of the body in hexadecimal.
    pub body_md5: String,
    /// The paymentId, when the body has one.
    pub payment_id: Option<String>,
    /// The request that submitted the payment.
    pub request_id: String,
    /// Id of the message as the client was told.
    pub message_id: String,
    /// When the payment was accepted (RFC 3339, UTC, milliseconds).
    pub accepted_at: String,
    /// When this was recorded (RFC 3339, UTC, milliseconds).
    pub recorded_at: String,
    /// Equal to `recorded_at` where the submission is held, and absent elsewhere: the index of what is
    /// held has only items with this attribute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_at: Option<String>,
    /// When the record may be deleted, in seconds since 1970-01-01 UTC.
    pub expires_at: i64,
}

/// Why, in a record's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Because {
    /// What became of it.
    pub kind: Kind,
    /// The reason's name.
    pub reason: &'static str,
    /// The reason in words, for the client.
    pub message: String,
    /// Paths of the properties at fault.
    pub fields: Vec<String>,
}

impl Record {
    /// The record of a submission by the user `sub`, with the body where it is to be kept.
    #[must_use]
    pub fn new(
        sub: &str,
        payment_id: Option<&str>,
        submission: &Submission,
        body: Option<&str>,
        because: Because,
        now_ms: i64,
    ) -> Record {
        let recorded_at = rfc3339(now_ms);
        Record {
            user_id: sub.to_owned(),
            payment_and_request: key(payment_id, &submission.request_id),
            kind: because.kind,
            reason: because.reason.to_owned(),
            message: because.message,
            fields: because.fields,
            body: body.map(str::to_owned),
            body_md5: submission.body_md5.clone(),
            payment_id: payment_id.map(str::to_owned),
            request_id: submission.request_id.clone(),
            message_id: submission.message_id.clone(),
            accepted_at: rfc3339(submission.accepted_at_ms),
            held_at: (because.kind == Kind::Held).then(|| recorded_at.clone()),
            recorded_at,
            expires_at: now_ms / 1000 + KEPT_DAYS * 24 * 60 * 60,
        }
    }

    pub(crate) fn read(item: Item) -> Result<Record, Failure> {
        serde_dynamo::from_item(item).map_err(|_| Failure::unreadable("a record"))
    }

    pub(crate) fn to_item(&self) -> Result<Item, Failure> {
        serde_dynamo::to_item(self).map_err(|_| Failure::unreadable("a record"))
    }
}

/// The sort key of a request's record.
pub(crate) fn key(payment_id: Option<&str>, request_id: &str) -> String {
    format!("{}#{request_id}", payment_id.unwrap_or("-"))
}

impl std::fmt::Debug for Record {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Record")
            .field("kind", &self.kind)
            .field("reason", &self.reason)
            .field("payment_and_request", &self.payment_and_request)
            .finish_non_exhaustive()
    }
}
