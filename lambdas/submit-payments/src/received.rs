//! A message as it was received: what it says, and what is to be done with it. Pure: no clock, no network,
//! no SDK.

use function::queue::Message;
use schema::canonical;
use schema::envelope::{Envelope, Kind, SCHEMA_VERSION};
use schema::json::Object;
use schema::payment::Payment;
use schema::refusal::Refusal;
use tables::{PaymentItem, Submission};

/// A message, read.
#[derive(Debug, Clone)]
pub struct Received {
    /// The message.
    pub message: Message,
    /// Its attributes, read.
    pub envelope: Envelope,
    /// What is known of the submission.
    pub submission: Submission,
}

/// What is to be done with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Store the payment, unless one is stored under its key.
    Put(Box<Payment>),
    /// Record why the payment is refused.
    Refuse(Refusal),
    /// Hand it to an operator: nobody vouches for its user.
    Unverified,
    /// Wait for a newer version of the function, which knows this kind of message.
    UnknownKind,
}

/// What a submission is beside the payment that is stored under its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beside {
    /// The stored one itself, delivered once more.
    Replay,
    /// The same payment, submitted by another request.
    Duplicate,
    /// Another payment.
    Conflict {
        /// Paths of the properties that differ.
        fields: Vec<String>,
    },
}

impl Received {
    /// Reads a message.
    #[must_use]
    pub fn read(message: Message) -> Received {
        let envelope = Envelope::read(message.texts());
        let original_id = message.original_id();
        let submission = Submission {
            request_id: envelope.request_id.clone().unwrap_or_else(|| original_id.to_owned()),
            message_id: original_id.to_owned(),
            accepted_at_ms: envelope.accepted_at_ms.or(message.sent_at_ms).unwrap_or_default(),
            body_md5: message.body_md5.clone(),
            schema_version: envelope.schema_version.unwrap_or(SCHEMA_VERSION),
        };
        Received { message, envelope, submission }
    }

    /// What is to be done, in order of precedence: a message that nobody vouches for, one of an unknown
    /// kind, a body that is no payment, a payment for somebody else, a payment to store. `parse` reads a
    /// payment from the body and the moment of acceptance.
    #[must_use]
    pub fn plan(&self, parse: impl FnOnce(&str, i64) -> Result<Payment, Refusal>) -> Plan {
        let Some(sub) = &self.envelope.sub else { return Plan::Unverified };
        match self.envelope.kind {
            Kind::Payment => {}
            Kind::Unknown(_) => return Plan::UnknownKind,
        }
        match parse(&self.message.body, self.submission.accepted_at_ms) {
            Err(refusal) => Plan::Refuse(refusal),
            Ok(payment) if payment.user_id().as_str() != sub => {
                Plan::Refuse(Refusal::OwnerMismatch)
            }
            Ok(payment) => Plan::Put(Box::new(payment)),
        }
    }

    /// What this message, with this body, is beside the payment that is stored under its key.
    #[must_use]
    pub fn beside(&self, body: &Object, stored: &PaymentItem) -> Beside {
        let fields = canonical::differences(&stored.body, body);
        if !fields.is_empty() {
            Beside::Conflict { fields }
        } else if stored.request_id == self.submission.request_id {
            Beside::Replay
        } else {
            Beside::Duplicate
        }
    }
}
