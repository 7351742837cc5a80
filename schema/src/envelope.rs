//! What travels with a body: the message attributes, written by the gateway's template, read by the
//! function, kept by the dead-letter queue and its operator.

use serde::{Deserialize, Serialize};

/// Names of the message attributes. SQS allows ten on a message.
pub mod attribute {
    /// Subject of the token that submitted the payment, verified by the gateway.
    pub const SUB: &str = "sub";
    /// The gateway's id of the request that submitted the payment.
    pub const REQUEST_ID: &str = "requestId";
    /// When the gateway accepted the payment, in milliseconds since 1970-01-01 UTC.
    pub const ACCEPTED_AT: &str = "acceptedAt";
    /// Version of the contract that the gateway validated the body against.
    pub const SCHEMA_VERSION: &str = "schemaVersion";
    /// What the body is; without it, a payment.
    pub const KIND: &str = "kind";
    /// Why the message is in the dead-letter queue, as JSON.
    pub const DEAD_LETTER: &str = "deadLetter";
}

/// The version of the contract in `payment-api.yaml`. It grows when a property is added.
pub const SCHEMA_VERSION: u32 = 1;

/// The message attributes, read. Whatever is missing or unreadable is `None`: a message straight on
/// the queue may carry anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Subject of the token; without one a payment is never stored.
    pub sub: Option<String>,
    /// Id of the request.
    pub request_id: Option<String>,
    /// When the request was accepted, in milliseconds since 1970-01-01 UTC.
    pub accepted_at_ms: Option<i64>,
    /// Version of the contract.
    pub schema_version: Option<u32>,
    /// What the body is.
    pub kind: Kind,
    /// The last death of a message that was re-driven from the dead-letter queue.
    pub dead_letter: Option<DeadLetter>,
}

impl Envelope {
    /// Reads the string attributes of a message. Unknown names are left to newer versions.
    pub fn read<'a>(attributes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Envelope {
        let mut envelope = Envelope::default();
        for (name, value) in attributes {
            match name {
                attribute::SUB => envelope.sub = some_text(value),
                attribute::REQUEST_ID => envelope.request_id = some_text(value),
                attribute::ACCEPTED_AT => {
                    envelope.accepted_at_ms = value.parse().ok().filter(|ms| *ms >= 0);
                }
                attribute::SCHEMA_VERSION => envelope.schema_version = value.parse().ok(),
                attribute::KIND => envelope.kind = Kind::read(value),
                attribute::DEAD_LETTER => envelope.dead_letter = serde_json::from_str(value).ok(),
                _ => {}
            }
        }
        envelope
    }

    /// The attributes to send, by name.
    #[must_use]
    pub fn write(&self) -> Vec<(&'static str, String)> {
        let dead_letter = self.dead_letter.as_ref().map(DeadLetter::to_json);
        [
            (attribute::SUB, self.sub.clone()),
            (attribute::REQUEST_ID, self.request_id.clone()),
            (attribute::ACCEPTED_AT, self.accepted_at_ms.map(|ms| ms.to_string())),
            (attribute::SCHEMA_VERSION, self.schema_version.map(|version| version.to_string())),
            (attribute::KIND, self.kind.written()),
            (attribute::DEAD_LETTER, dead_letter),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// What the body of a message is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Kind {
    /// A payment.
    #[default]
    Payment,
    /// Something that a newer gateway sends and this version does not know.
    Unknown(String),
}

impl Kind {
    const PAYMENT: &str = "payment";

    fn read(value: &str) -> Kind {
        if value == Self::PAYMENT { Kind::Payment } else { Kind::Unknown(value.to_owned()) }
    }

    fn written(&self) -> Option<String> {
        match self {
            Kind::Payment => None,
            Kind::Unknown(kind) => Some(kind.clone()),
        }
    }
}

/// DynamoDB's limit for a hash key, and `sub` is one.
const TEXT_BYTES_MAX: usize = 512;

fn some_text(value: &str) -> Option<String> {
    let fits = !value.trim().is_empty() && value.len() <= TEXT_BYTES_MAX;
    fits.then(|| value.to_owned())
}

/// Why a message is in the dead-letter queue. A message dies with one of these: a later death replaces
/// the former, so that a message never runs out of attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// The reason.
    pub reason: DeadReason,
    /// What failed, in words; names of properties, never values.
    pub detail: String,
    /// Id of the message as the client was told: a re-drive gives a message a new one.
    pub original_message_id: String,
    /// How often the message had been received when it died.
    pub receive_count: u32,
    /// Version of the function that gave up.
    pub function_version: String,
    /// When it gave up (RFC 3339, UTC, milliseconds).
    pub at: String,
    /// How often an operator has sent the message back to the main queue.
    pub redrive_count: u32,
}

impl DeadLetter {
    /// The attribute's value.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always serialise")
    }
}

/// Why a message died: nobody vouches for its user, or the last error of the last permitted receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    /// No verified subject on the message: it did not come through the gateway.
    Unverified,
    /// The message says that its body is of a kind that the function does not know: the gateway is newer
    /// than the function.
    UnknownKind,
    /// The table or its key refused work for now: too many requests.
    Throttled,
    /// The table answered with an error of its own or could not be reached.
    Unavailable,
    /// No answer in time.
    TimedOut,
    /// The function may not use the table or its key.
    AccessDenied,
    /// The table does not exist.
    TableNotFound,
    /// The table refused the request as invalid.
    RequestRejected,
    /// The table can take no more under this key.
    CollectionFull,
    /// The stored item is not one that we wrote.
    ItemUnreadable,
    /// An error that we do not know.
    UnknownError,
    /// The invocation's time was over before the record's turn.
    DeadlineExceeded,
    /// A defect of ours.
    Panicked,
    /// Nobody wrote it down: the queue moved the message itself after its last permitted receive. Also
    /// a reason of a newer version, so that the rest of its dead letter is read all the same.
    #[serde(other)]
    Unknown,
}

impl DeadReason {
    /// The reason's name in attributes, records, logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DeadReason::Unverified => "unverified",
            DeadReason::UnknownKind => "unknown_kind",
            DeadReason::Throttled => "throttled",
            DeadReason::Unavailable => "unavailable",
            DeadReason::TimedOut => "timed_out",
            DeadReason::AccessDenied => "access_denied",
            DeadReason::TableNotFound => "table_not_found",
            DeadReason::RequestRejected => "request_rejected",
            DeadReason::CollectionFull => "collection_full",
            DeadReason::ItemUnreadable => "item_unreadable",
            DeadReason::UnknownError => "unknown_error",
            DeadReason::DeadlineExceeded => "deadline_exceeded",
            DeadReason::Panicked => "panicked",
            DeadReason::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Envelope {
        Envelope {
            sub: Some("5f2c8d34-1b7e-4e0a-8c55-90d1e2f3a4b5".to_owned()),
            request_id: Some("JKJaXmPLvHcESHA=".to_owned()),
            accepted_at_ms: Some(1_790_000_000_123),
            schema_version: Some(SCHEMA_VERSION),
            kind: Kind::Unknown("refund".to_owned()),
            dead_letter: Some(DeadLetter {
                reason: DeadReason::TableNotFound,
                detail: "put payment".to_owned(),
                original_message_id: "m-1".to_owned(),
                receive_count: 5,
                function_version: "7".to_owned(),
                at: "2026-11-20T12:00:00.000Z".to_owned(),
                redrive_count: 1,
            }),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for envelope in [Envelope::default(), full()] {
            let attributes = envelope.write();
            let pairs = attributes.iter().map(|(name, value)| (*name, value.as_str()));
            assert_eq!(Envelope::read(pairs), envelope);
        }
    }

    #[test]
    fn the_dead_letter_attribute_keeps_its_bytes() {
        let json = full().dead_letter.unwrap().to_json();
        assert_eq!(
            json,
            r#"{"reason":"table_not_found","detail":"put payment","originalMessageId":"m-1","receiveCount":5,"functionVersion":"7","at":"2026-11-20T12:00:00.000Z","redriveCount":1}"#
        );
    }

    #[test]
    fn unreadable_attributes_count_as_missing() {
        let long = "x".repeat(513);
        for (name, value) in [
            ("sub", ""),
            ("sub", " \n"),
            ("sub", long.as_str()),
            ("requestId", ""),
            ("acceptedAt", "yesterday"),
            ("acceptedAt", "-1"),
            ("schemaVersion", "-1"),
            ("deadLetter", "{"),
            ("kind", "payment"),
            ("unknown", "x"),
        ] {
            assert_eq!(Envelope::read([(name, value)]), Envelope::default(), "{name}={value}");
        }
    }

    #[test]
    fn a_reason_has_one_name() {
        use DeadReason::{CollectionFull, Panicked, Unknown, UnknownKind, Unverified};
        for reason in [Unverified, UnknownKind, CollectionFull, Panicked, Unknown] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
    }

    #[test]
    fn a_reason_of_a_newer_version_leaves_the_rest_readable() {
        let json = full().dead_letter.unwrap().to_json().replace("table_not_found", "moon_phase");
        let read = Envelope::read([(attribute::DEAD_LETTER, json.as_str())]).dead_letter.unwrap();
        assert_eq!((read.reason, read.redrive_count), (DeadReason::Unknown, 1));
        assert_eq!(read.original_message_id, "m-1");
    }
}
