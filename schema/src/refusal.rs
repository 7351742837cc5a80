//! Why a payment is refused: the client's errors, which are answered to the client.

/// Characters of a property's name that a refusal repeats. Names outside the contract are chosen by
/// whoever sent them.
const NAME_LENGTH_MAX: usize = 64;

/// Names of properties that a conflict lists.
pub(crate) const FIELDS_MAX: usize = 32;

/// The one reason for which a payment is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body is not one JSON object that could be stored.
    #[error("the body {rule}")]
    Malformed {
        /// What the body must be.
        rule: &'static str,
    },
    /// A property breaks one of its rules.
    #[error("{field} {rule}")]
    Invalid {
        /// Path of the property, such as `creditorAccount.identification`.
        field: String,
        /// What the property must be.
        rule: &'static str,
    },
    /// The payment names a user other than the one whose token submitted it.
    #[error("userId must be the subject of the token")]
    OwnerMismatch,
    /// Another payment is stored under this `paymentId`; it stays as it is.
    #[error("another payment with this paymentId is stored; it differs in {}", fields.join(", "))]
    Conflict {
        /// Paths of the properties that differ.
        fields: Vec<String>,
    },
}

impl Refusal {
    /// The reason's name in records, answers, logs and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Malformed { .. } => "malformed",
            Refusal::Invalid { .. } => "invalid",
            Refusal::OwnerMismatch => "owner_mismatch",
            Refusal::Conflict { .. } => "conflict",
        }
    }

    /// Paths of the properties at fault; never a value.
    #[must_use]
    pub fn fields(&self) -> Vec<String> {
        match self {
            Refusal::Malformed { .. } => Vec::new(),
            Refusal::Invalid { field, .. } => vec![field.clone()],
            Refusal::OwnerMismatch => vec!["userId".to_owned()],
            Refusal::Conflict { fields } => fields.clone(),
        }
    }

    /// The same refusal, seen from the object or list that holds the property.
    pub(crate) fn under(self, parent: &str) -> Refusal {
        match self {
            Refusal::Invalid { field, rule } => {
                Refusal::Invalid { field: join(parent, &field), rule }
            }
            Refusal::Malformed { .. } | Refusal::OwnerMismatch | Refusal::Conflict { .. } => self,
        }
    }
}

/// The path of `child` inside `parent`: `account.name`, `list[0]`.
pub(crate) fn join(parent: &str, child: &str) -> String {
    let parent: String = parent.chars().take(NAME_LENGTH_MAX).collect();
    match child.chars().next() {
        None => parent,
        Some('[') => parent + child,
        Some(_) => format!("{parent}.{child}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_names_that_records_and_metrics_keep() {
        let (field, fields) = ("amount".to_owned(), vec!["amount".to_owned()]);
        for (refusal, reason) in [
            (Refusal::Malformed { rule: "" }, "malformed"),
            (Refusal::Invalid { field, rule: "" }, "invalid"),
            (Refusal::OwnerMismatch, "owner_mismatch"),
            (Refusal::Conflict { fields }, "conflict"),
        ] {
            assert_eq!(refusal.reason(), reason);
        }
    }
}
