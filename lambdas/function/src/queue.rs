//! The queue behind a function: its messages, what is asked of it, and SQS as one implementation of that;
//! the tests and the simulator have their own.

use std::future::Future;
use std::time::Duration;

use aws_lambda_events::sqs::{SqsMessage, SqsMessageAttribute};
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
};
use aws_types::SdkConfig;
use schema::envelope::attribute;

use crate::dead_letter::DeadLetter;
use crate::environment::Environment;

/// A message of the queue. Its `Debug` form leaves out the body.
#[derive(Clone)]
pub struct Message {
    /// The queue's id; what the response names.
    pub message_id: String,
    /// The handle of this delivery.
    pub receipt_handle: String,
    /// The body as it was received.
    pub body: String,
    /// MD5 of the body in hexadecimal, as the queue computed it.
    pub body_md5: String,
    /// How often the queue has delivered the message, this time included.
    pub receive_count: u32,
    /// When it was sent, in milliseconds since 1970-01-01 UTC.
    pub sent_at_ms: Option<i64>,
    /// The message attributes, to be sent on as they are.
    pub attributes: Vec<(String, SqsMessageAttribute)>,
    /// The last death of a message that was re-driven from the dead-letter queue.
    pub dead_letter: Option<DeadLetter>,
    /// The X-Ray trace, to be sent on as it is.
    pub trace_header: Option<String>,
    /// The message's group in the fair queue, to be sent on as it is.
    pub message_group: Option<String>,
}

impl Message {
    /// Reads a message; `None` when it has no id by which the response could name it.
    #[must_use]
    pub fn read(message: SqsMessage) -> Option<Message> {
        let message_id = message.message_id.filter(|id| !id.is_empty())?;
        let system = |name: &str| message.attributes.get(name);
        let died = message.message_attributes.get(attribute::DEAD_LETTER);
        Some(Message {
            message_id,
            receipt_handle: message.receipt_handle.unwrap_or_default(),
            body: message.body.unwrap_or_default(),
            body_md5: message.md5_of_body.unwrap_or_default(),
            // A count that is missing must not bring a message closer to its death.
            receive_count: system("ApproximateReceiveCount")
                .and_then(|count| count.parse().ok())
                .unwrap_or(1),
            sent_at_ms: system("SentTimestamp").and_then(|ms| ms.parse().ok()),
            dead_letter: died.and_then(|died| DeadLetter::read(died.string_value.as_deref()?)),
            trace_header: system("AWSTraceHeader").cloned(),
            message_group: system("MessageGroupId").cloned(),
            attributes: message.message_attributes.into_iter().collect(),
        })
    }

    /// The attributes that are texts, by name.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().filter_map(|(name, attribute)| {
            Some((name.as_str(), attribute.string_value.as_deref()?))
        })
    }

    /// The id under which the client knows the message: a re-drive gives it a new one.
    #[must_use]
    pub fn original_id(&self) -> &str {
        self.dead_letter.as_ref().map_or(&self.message_id, |died| &died.original_message_id)
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Message")
            .field("message_id", &self.message_id)
            .field("receive_count", &self.receive_count)
            .finish_non_exhaustive()
    }
}

/// What a function asks of its queue. Every call may have taken effect although it failed.
pub trait Queue: Sync {
    /// Sends a message to the dead-letter queue: the body byte for byte, its group and every attribute
    /// as they are, and the dead letter in place of an older one.
    fn send_dead_letter(
        &self,
        message: &Message,
        dead_letter: &DeadLetter,
    ) -> impl Future<Output = Result<(), QueueFailure>> + Send;

    /// Hides a message from the queue's receivers for so long.
    fn postpone(
        &self,
        message: &Message,
        delay: Duration,
    ) -> impl Future<Output = Result<(), QueueFailure>> + Send;
}

/// A call to a queue that failed. It names the service's error code and never its message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{attempted} ({code})")]
pub struct QueueFailure {
    /// What was attempted.
    pub attempted: &'static str,
    /// The service's name for the error, or the SDK's when there was no answer.
    pub code: String,
}

/// The queue and its dead-letter queue at SQS.
#[derive(Debug, Clone)]
pub struct Sqs {
    client: aws_sdk_sqs::Client,
    queue_url: String,
    dead_letter_queue_url: String,
}

impl Sqs {
    /// Queues by their URLs; `AWS_ENDPOINT_URL_SQS` sends the calls elsewhere.
    #[must_use]
    pub fn new(
        config: &SdkConfig,
        environment: &impl Environment,
        queue_url: String,
        dead_letter_queue_url: String,
    ) -> Sqs {
        let mut builder = aws_sdk_sqs::config::Builder::from(config);
        builder.set_endpoint_url(environment.value("AWS_ENDPOINT_URL_SQS"));
        let client = aws_sdk_sqs::Client::from_conf(builder.build());
        Sqs { client, queue_url, dead_letter_queue_url }
    }
}

impl Queue for Sqs {
    async fn send_dead_letter(
        &self,
        message: &Message,
        dead_letter: &DeadLetter,
    ) -> Result<(), QueueFailure> {
        let mut send = self
            .client
            .send_message()
            .queue_url(&self.dead_letter_queue_url)
            .message_body(&message.body)
            .set_message_group_id(message.message_group.clone());
        for (name, value) in &message.attributes {
            if name != attribute::DEAD_LETTER {
                send = send.message_attributes(name, copied(value)?);
            }
        }
        let reason = text_attribute(&dead_letter.to_json())?;
        send = send.message_attributes(attribute::DEAD_LETTER, reason);
        if let Some(trace) = &message.trace_header {
            let value = MessageSystemAttributeValue::builder()
                .data_type("String")
                .string_value(trace)
                .build()
                .map_err(|_| unsendable())?;
            let name = MessageSystemAttributeNameForSends::AwsTraceHeader;
            send = send.message_system_attributes(name, value);
        }
        send.send().await.map(|_| ()).map_err(|error| QueueFailure {
            attempted: "send to the dead-letter queue",
            code: code_of(&error),
        })
    }

    async fn postpone(&self, message: &Message, delay: Duration) -> Result<(), QueueFailure> {
        let change = self
            .client
            .change_message_visibility()
            .queue_url(&self.queue_url)
            .receipt_handle(&message.receipt_handle)
            .visibility_timeout(i32::try_from(delay.as_secs()).unwrap_or(i32::MAX));
        change.send().await.map(|_| ()).map_err(|error| QueueFailure {
            attempted: "change the visibility timeout",
            code: code_of(&error),
        })
    }
}

fn copied(attribute: &SqsMessageAttribute) -> Result<MessageAttributeValue, QueueFailure> {
    let binary = attribute.binary_value.as_ref().map(|bytes| Blob::new(bytes.0.clone()));
    MessageAttributeValue::builder()
        .set_data_type(attribute.data_type.clone())
        .set_string_value(attribute.string_value.clone())
        .set_binary_value(binary)
        .build()
        .map_err(|_| unsendable())
}

fn text_attribute(text: &str) -> Result<MessageAttributeValue, QueueFailure> {
    MessageAttributeValue::builder()
        .data_type("String")
        .string_value(text)
        .build()
        .map_err(|_| unsendable())
}

fn unsendable() -> QueueFailure {
    QueueFailure {
        attempted: "send to the dead-letter queue",
        code: "attribute without a type".to_owned(),
    }
}

/// The service's code for an error, and never its message. Where there was no answer, words for what was in
/// the way.
#[must_use]
pub fn code_of<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    let code = match error {
        SdkError::ServiceError(_) => error.code().unwrap_or("error without a code"),
        SdkError::TimeoutError(_) => "no answer in time",
        SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_timeout() => {
            "not reached"
        }
        // Without credentials or a region the SDK cannot even send the request.
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => "request not sent",
        SdkError::ResponseError(_) => "unreadable answer",
        _ => "unknown error",
    };
    code.to_owned()
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::error::{ConnectorError, ErrorMetadata};
    use aws_sdk_sqs::operation::send_message::SendMessageError;

    use super::*;

    #[test]
    fn a_failure_is_named_by_its_code_and_never_by_its_message() {
        let service = |code: Option<&str>| {
            let mut metadata = ErrorMetadata::builder().message("canary");
            if let Some(code) = code {
                metadata = metadata.code(code);
            }
            SdkError::service_error(SendMessageError::generic(metadata.build()), ())
        };
        let canary = || Box::<dyn std::error::Error + Send + Sync>::from("canary");
        for (error, code) in [
            (service(Some("QueueDoesNotExist")), "QueueDoesNotExist"),
            (service(None), "error without a code"),
            (SdkError::timeout_error(canary()), "no answer in time"),
            (SdkError::dispatch_failure(ConnectorError::io(canary())), "not reached"),
            (SdkError::response_error(canary(), ()), "unreadable answer"),
            (SdkError::dispatch_failure(ConnectorError::user(canary())), "request not sent"),
            (SdkError::construction_failure(canary()), "request not sent"),
        ] {
            assert_eq!(code_of(&error), code);
        }
    }
}
