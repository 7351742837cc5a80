//! What a message says that no further delivery can help: why, since when, and after how many tries.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::failure::CallFailure;

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
    ///
    /// # Panics
    /// Never: strings and numbers always serialise.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always serialise")
    }

    /// Reads the attribute's value; `None` when it is not ours.
    #[must_use]
    pub fn read(json: &str) -> Option<DeadLetter> {
        serde_json::from_str(json).ok()
    }
}

/// Why a message died: nobody vouches for its user, or the last error of the last permitted receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadReason {
    /// No verified subject on the message: it did not come through the gateway.
    Unverified,
    /// The message says that its body is of a kind that the function does not know: the gateway is newer
    /// than the function.
    UnknownKind,
    /// A call failed.
    Call(CallFailure),
    /// The function failed.
    Function(FunctionFailure),
    /// Nobody wrote it down: the queue moved the message itself after its last permitted receive. Also
    /// a reason of a newer version, so that the rest of its dead letter is read all the same.
    Unknown,
}

/// How a function itself failed at a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionFailure {
    /// The invocation's time was over before the message was done.
    DeadlineExceeded,
    /// A defect of ours.
    Panicked,
}

impl DeadReason {
    /// All of them.
    pub const ALL: [DeadReason; 14] = [
        DeadReason::Unverified,
        DeadReason::UnknownKind,
        DeadReason::Call(CallFailure::ALL[0]),
        DeadReason::Call(CallFailure::ALL[1]),
        DeadReason::Call(CallFailure::ALL[2]),
        DeadReason::Call(CallFailure::ALL[3]),
        DeadReason::Call(CallFailure::ALL[4]),
        DeadReason::Call(CallFailure::ALL[5]),
        DeadReason::Call(CallFailure::ALL[6]),
        DeadReason::Call(CallFailure::ALL[7]),
        DeadReason::Call(CallFailure::ALL[8]),
        DeadReason::Function(FunctionFailure::DeadlineExceeded),
        DeadReason::Function(FunctionFailure::Panicked),
        DeadReason::Unknown,
    ];

    /// The reason's name in attributes, records, logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DeadReason::Unverified => "unverified",
            DeadReason::UnknownKind => "unknown_kind",
            DeadReason::Call(failure) => failure.name(),
            DeadReason::Function(FunctionFailure::DeadlineExceeded) => "deadline_exceeded",
            DeadReason::Function(FunctionFailure::Panicked) => "panicked",
            DeadReason::Unknown => "unknown",
        }
    }
}

impl From<CallFailure> for DeadReason {
    fn from(failure: CallFailure) -> DeadReason {
        DeadReason::Call(failure)
    }
}

impl From<FunctionFailure> for DeadReason {
    fn from(failure: FunctionFailure) -> DeadReason {
        DeadReason::Function(failure)
    }
}

impl Serialize for DeadReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for DeadReason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DeadReason, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = DeadReason::ALL.into_iter().find(|reason| reason.name() == name);
        Ok(known.unwrap_or(DeadReason::Unknown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(reason: DeadReason) -> DeadLetter {
        DeadLetter {
            reason,
            detail: "put payment".to_owned(),
            original_message_id: "m-1".to_owned(),
            receive_count: 5,
            function_version: "7".to_owned(),
            at: "2026-11-20T12:00:00.000Z".to_owned(),
            redrive_count: 1,
        }
    }

    /// Letters with these bytes wait in queues for two weeks, and records with these names for 400 days.
    #[test]
    fn the_bytes_on_the_wire_are_frozen() {
        let names = [
            "unverified",
            "unknown_kind",
            "throttled",
            "unavailable",
            "timed_out",
            "access_denied",
            "table_not_found",
            "request_rejected",
            "collection_full",
            "item_unreadable",
            "unknown_error",
            "deadline_exceeded",
            "panicked",
            "unknown",
        ];
        for (reason, name) in DeadReason::ALL.into_iter().zip(names) {
            let json = letter(reason).to_json();
            assert_eq!(
                json,
                format!(
                    r#"{{"reason":"{name}","detail":"put payment","originalMessageId":"m-1","receiveCount":5,"functionVersion":"7","at":"2026-11-20T12:00:00.000Z","redriveCount":1}}"#
                )
            );
            assert_eq!(DeadLetter::read(&json), Some(letter(reason)));
        }
    }

    /// A new variant does not compile here until it has a place in `ALL`.
    #[test]
    fn all_reasons_are_listed() {
        for (index, reason) in DeadReason::ALL.into_iter().enumerate() {
            let listed = match reason {
                DeadReason::Unverified => 0,
                DeadReason::UnknownKind => 1,
                DeadReason::Call(failure) => {
                    2 + match failure {
                        CallFailure::Throttled => 0,
                        CallFailure::Unavailable => 1,
                        CallFailure::TimedOut => 2,
                        CallFailure::AccessDenied => 3,
                        CallFailure::NotFound => 4,
                        CallFailure::RequestRejected => 5,
                        CallFailure::Full => 6,
                        CallFailure::Unreadable => 7,
                        CallFailure::Unknown => 8,
                    }
                }
                DeadReason::Function(FunctionFailure::DeadlineExceeded) => 11,
                DeadReason::Function(FunctionFailure::Panicked) => 12,
                DeadReason::Unknown => 13,
            };
            assert_eq!(index, listed, "{reason:?}");
        }
    }

    #[test]
    fn a_reason_of_a_newer_version_leaves_the_rest_readable() {
        let json = letter(DeadReason::Unverified).to_json().replace("unverified", "moon_phase");
        assert_eq!(DeadLetter::read(&json), Some(letter(DeadReason::Unknown)));
        assert_eq!(DeadLetter::read("{"), None);
    }
}
