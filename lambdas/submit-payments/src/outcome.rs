//! What can become of a record.

use schema::envelope::DeadReason;
use schema::refusal::Refusal;

/// The one outcome of a record in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The payment is stored: by this record now, or by an earlier delivery of it.
    Stored,
    /// The same payment was stored by another request.
    Duplicate,
    /// Refused, and the refusal is on record.
    Refused(Refusal),
    /// Sent to the dead-letter queue with this reason.
    Dead(DeadReason),
    /// Not done; the queue delivers it again.
    Retry(DeadReason),
}

impl Outcome {
    /// Whether the queue may delete the message: the outcome is durable.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        match self {
            Outcome::Stored | Outcome::Duplicate | Outcome::Refused(_) | Outcome::Dead(_) => true,
            Outcome::Retry(_) => false,
        }
    }

    /// The outcome's name in logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Stored => "stored",
            Outcome::Duplicate => "duplicate",
            Outcome::Refused(_) => "refused",
            Outcome::Dead(_) => "dead",
            Outcome::Retry(_) => "retry",
        }
    }

    /// The reason's name, for the outcomes that have one.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Outcome::Stored | Outcome::Duplicate => None,
            Outcome::Refused(refusal) => Some(refusal.reason()),
            Outcome::Dead(reason) | Outcome::Retry(reason) => Some(reason.name()),
        }
    }
}
