//! The table and the queues as the record path sees them. AWS is one implementation; the tests and the
//! simulator have their own.

use std::future::Future;
use std::time::Duration;

use aws_lambda_events::sqs::SqsMessageAttribute;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
};
use schema::envelope::{DeadLetter, attribute};
use schema::payment::Payment;
use schema::refusal::Refusal;
use tables::direct::Direct;
use tables::environment::Environment;
use tables::{Failure, PaymentItem, PaymentsTable, Put, Submission, connection};

use crate::config::Config;
use crate::record::Record;

/// What the record path asks of the world. Every call may have taken effect although it failed.
pub trait Edges: Sync {
    /// Reads a payment by the rules of this version of the function, as of the moment of acceptance.
    ///
    /// # Errors
    /// The first rule that the body breaks.
    fn parse(&self, body: &str, accepted_at_ms: i64) -> Result<Payment, Refusal> {
        Payment::parse(body, accepted_at_ms)
    }

    /// Stores a payment unless one is stored under its key.
    fn put_payment(
        &self,
        payment: &Payment,
        submission: &Submission,
        now_ms: i64,
    ) -> impl Future<Output = Result<Put, Failure>> + Send;

    /// The payment of a user, if it is stored: whatever was stored before is seen.
    fn stored_payment(
        &self,
        user_id: &str,
        payment_id: &str,
    ) -> impl Future<Output = Result<Option<PaymentItem>, Failure>> + Send;

    /// Records a submission that is not the stored one; what is final on record stays.
    fn record(&self, record: &tables::Record) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Sends a message to the dead-letter queue: the body byte for byte, its group and every attribute
    /// as they are, and the dead letter in place of an older one.
    fn send_dead_letter(
        &self,
        record: &Record,
        dead_letter: &DeadLetter,
    ) -> impl Future<Output = Result<(), QueueFailure>> + Send;

    /// Hides a message from the queue's receivers for so long.
    fn postpone(
        &self,
        record: &Record,
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

/// DynamoDB and SQS.
#[derive(Debug, Clone)]
pub struct Aws {
    table: PaymentsTable,
    queues: aws_sdk_sqs::Client,
    queue_url: String,
    dead_letter_queue_url: String,
}

impl Aws {
    /// Builds the clients and makes the first connection to the table, while the environment starts.
    ///
    /// # Errors
    /// A variable that Lambda always sets is missing, or its region is unknown.
    pub async fn connect(config: &Config, environment: &impl Environment) -> anyhow::Result<Aws> {
        // A call that outlived the margin would be cut off by the end of the invocation.
        let operation_timeout = config.deadline_margin.mul_f32(0.8);
        let http = connection::http_connector();
        let sdk = connection::sdk_config(environment, &http, operation_timeout)?;
        let endpoint = environment.value("AWS_ENDPOINT_URL_DYNAMODB");
        let direct = Direct::new(http, connection::identity(environment)?, endpoint).await?;
        direct.warm_up().await;
        let mut queues = aws_sdk_sqs::config::Builder::from(&sdk);
        queues.set_endpoint_url(environment.value("AWS_ENDPOINT_URL_SQS"));
        Ok(Aws {
            table: PaymentsTable::new(
                connection::dynamodb(&sdk, environment),
                config.payments_table.clone(),
                config.refusals_table.clone(),
            )
            .with_direct(direct),
            queues: aws_sdk_sqs::Client::from_conf(queues.build()),
            queue_url: config.queue_url.clone(),
            dead_letter_queue_url: config.dead_letter_queue_url.clone(),
        })
    }
}

impl Edges for Aws {
    async fn put_payment(
        &self,
        payment: &Payment,
        submission: &Submission,
        now_ms: i64,
    ) -> Result<Put, Failure> {
        self.table.put_payment(payment, submission, now_ms).await
    }

    async fn stored_payment(
        &self,
        user_id: &str,
        payment_id: &str,
    ) -> Result<Option<PaymentItem>, Failure> {
        self.table.payment(user_id, payment_id).await
    }

    async fn record(&self, record: &tables::Record) -> Result<(), Failure> {
        self.table.record(record).await
    }

    async fn send_dead_letter(
        &self,
        record: &Record,
        dead_letter: &DeadLetter,
    ) -> Result<(), QueueFailure> {
        let mut send = self
            .queues
            .send_message()
            .queue_url(&self.dead_letter_queue_url)
            .message_body(&record.body)
            .set_message_group_id(record.message_group.clone());
        for (name, value) in &record.attributes {
            if name != attribute::DEAD_LETTER {
                send = send.message_attributes(name, copied(value)?);
            }
        }
        let reason = text_attribute(&dead_letter.to_json())?;
        send = send.message_attributes(attribute::DEAD_LETTER, reason);
        if let Some(trace) = &record.trace_header {
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

    async fn postpone(&self, record: &Record, delay: Duration) -> Result<(), QueueFailure> {
        let change = self
            .queues
            .change_message_visibility()
            .queue_url(&self.queue_url)
            .receipt_handle(&record.receipt_handle)
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

fn code_of<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    let kind = match error {
        SdkError::ServiceError(_) => error.code().unwrap_or("error without a code"),
        SdkError::TimeoutError(_) => "no answer in time",
        SdkError::DispatchFailure(_) => "not reached",
        SdkError::ResponseError(_) => "unreadable answer",
        _ => "request not built",
    };
    kind.to_owned()
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
            (SdkError::construction_failure(canary()), "request not built"),
        ] {
            assert_eq!(code_of(&error), code);
        }
    }
}
