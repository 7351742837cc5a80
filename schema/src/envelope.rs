//! What travels with a body: the message attributes, written by the gateway's template, read by the
//! function, kept by the dead-letter queue and its operator. The one attribute that is not the gateway's,
//! the dead letter, is the functions' own.

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
                _ => {}
            }
        }
        envelope
    }

    /// The attributes to send, by name.
    #[must_use]
    pub fn write(&self) -> Vec<(&'static str, String)> {
        [
            (attribute::SUB, self.sub.clone()),
            (attribute::REQUEST_ID, self.request_id.clone()),
            (attribute::ACCEPTED_AT, self.accepted_at_ms.map(|ms| ms.to_string())),
            (attribute::SCHEMA_VERSION, self.schema_version.map(|version| version.to_string())),
            (attribute::KIND, self.kind.written()),
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
            ("kind", "payment"),
            ("unknown", "x"),
        ] {
            assert_eq!(Envelope::read([(name, value)]), Envelope::default(), "{name}={value}");
        }
    }
}
