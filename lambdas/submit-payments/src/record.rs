//! One record: what it says, and what is to be done with it. Pure: no clock, no network, no SDK.

use aws_lambda_events::sqs::{SqsMessage, SqsMessageAttribute};
use schema::canonical;
use schema::envelope::{Envelope, Kind, SCHEMA_VERSION};
use schema::json::Object;
use schema::payment::Payment;
use schema::refusal::Refusal;
use tables::{PaymentItem, Submission};

/// A record of the queue's event, read. Its `Debug` form leaves out the body.
#[derive(Clone)]
pub struct Record {
    /// The queue's id; what the response names.
    pub message_id: String,
    /// The handle of this delivery.
    pub receipt_handle: String,
    /// The body as it was received.
    pub body: String,
    /// How often the queue has delivered the message, this time included.
    pub receive_count: u32,
    /// The message attributes, read.
    pub envelope: Envelope,
    /// The message attributes, to be sent on as they are.
    pub attributes: Vec<(String, SqsMessageAttribute)>,
    /// The X-Ray trace, to be sent on as it is.
    pub trace_header: Option<String>,
    /// The message's group in the fair queue, to be sent on as it is.
    pub message_group: Option<String>,
    /// What is known of the submission.
    pub submission: Submission,
}

/// What is to be done with a record.
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

impl Record {
    /// Reads a record; `None` when it has no id by which the response could name it.
    #[must_use]
    pub fn read(message: SqsMessage) -> Option<Record> {
        let message_id = message.message_id.filter(|id| !id.is_empty())?;
        let envelope =
            Envelope::read(message.message_attributes.iter().filter_map(|(name, attribute)| {
                Some((name.as_str(), attribute.string_value.as_deref()?))
            }));
        let system = |name: &str| message.attributes.get(name);
        let sent_at_ms = system("SentTimestamp").and_then(|ms| ms.parse().ok());
        let original_id = match &envelope.dead_letter {
            Some(dead_letter) => dead_letter.original_message_id.clone(),
            None => message_id.clone(),
        };
        let submission = Submission {
            request_id: envelope.request_id.clone().unwrap_or_else(|| original_id.clone()),
            message_id: original_id,
            accepted_at_ms: envelope.accepted_at_ms.or(sent_at_ms).unwrap_or_default(),
            body_md5: message.md5_of_body.unwrap_or_default(),
            schema_version: envelope.schema_version.unwrap_or(SCHEMA_VERSION),
        };
        Some(Record {
            receipt_handle: message.receipt_handle.unwrap_or_default(),
            body: message.body.unwrap_or_default(),
            // A count that is missing must not bring a message closer to its death.
            receive_count: system("ApproximateReceiveCount")
                .and_then(|count| count.parse().ok())
                .unwrap_or(1),
            trace_header: system("AWSTraceHeader").cloned(),
            message_group: system("MessageGroupId").cloned(),
            attributes: message.message_attributes.into_iter().collect(),
            message_id,
            envelope,
            submission,
        })
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
        match parse(&self.body, self.submission.accepted_at_ms) {
            Err(refusal) => Plan::Refuse(refusal),
            Ok(payment) if payment.user_id().as_str() != sub => {
                Plan::Refuse(Refusal::OwnerMismatch)
            }
            Ok(payment) => Plan::Put(Box::new(payment)),
        }
    }

    /// What this record, with this body, is beside the payment that is stored under its key.
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

impl std::fmt::Debug for Record {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Record")
            .field("message_id", &self.message_id)
            .field("receive_count", &self.receive_count)
            .finish_non_exhaustive()
    }
}
