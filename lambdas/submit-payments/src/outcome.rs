//! What can become of a message.

use function::batch;
use function::dead_letter::DeadReason;
use schema::refusal::Refusal;
use tracing::Level;

/// The one outcome of a message in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The payment is stored: by this message now, or by an earlier delivery of it.
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

impl batch::Outcome for Outcome {
    fn is_acknowledged(&self) -> bool {
        match self {
            Outcome::Stored | Outcome::Duplicate | Outcome::Refused(_) | Outcome::Dead(_) => true,
            Outcome::Retry(_) => false,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Outcome::Stored => "stored",
            Outcome::Duplicate => "duplicate",
            Outcome::Refused(_) => "refused",
            Outcome::Dead(_) => "dead",
            Outcome::Retry(_) => "retry",
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Outcome::Stored | Outcome::Duplicate => None,
            Outcome::Refused(refusal) => Some(refusal.reason()),
            Outcome::Dead(reason) | Outcome::Retry(reason) => Some(reason.name()),
        }
    }

    fn level(&self) -> Level {
        match self {
            Outcome::Stored | Outcome::Duplicate | Outcome::Refused(_) => Level::INFO,
            Outcome::Retry(_) => Level::WARN,
            Outcome::Dead(_) => Level::ERROR,
        }
    }

    fn counters(&self) -> &'static [&'static str] {
        match self {
            Outcome::Stored => &["Stored"],
            Outcome::Duplicate => &["Duplicate"],
            Outcome::Refused(Refusal::Conflict { .. }) => &["Refused", "Conflict"],
            Outcome::Refused(Refusal::OwnerMismatch) => &["Refused", "OwnerMismatch"],
            Outcome::Refused(Refusal::Invalid { .. } | Refusal::Malformed { .. }) => &["Refused"],
            Outcome::Dead(DeadReason::Unverified) => &["DeadLettered", "Unverified"],
            Outcome::Dead(_) => &["DeadLettered"],
            Outcome::Retry(_) => &["Retried"],
        }
    }

    fn timer(&self) -> Option<&'static str> {
        (*self == Outcome::Stored).then_some("AcceptToStore")
    }
}

#[cfg(test)]
mod tests {
    use function::batch::Outcome as _;

    use super::*;

    /// Alarms and the dashboard read these names.
    #[test]
    fn security_findings_have_a_metric_of_their_own() {
        let counters = |outcome: Outcome| outcome.counters();
        assert_eq!(counters(Outcome::Dead(DeadReason::Unverified)), ["DeadLettered", "Unverified"]);
        assert_eq!(counters(Outcome::Dead(DeadReason::Unknown)), ["DeadLettered"]);
        let mismatch = Outcome::Refused(Refusal::OwnerMismatch);
        assert_eq!(counters(mismatch), ["Refused", "OwnerMismatch"]);
        assert_eq!(Outcome::Stored.timer(), Some("AcceptToStore"));
        assert_eq!(Outcome::Duplicate.timer(), None);
    }
}
