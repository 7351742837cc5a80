use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use aws_types::SdkConfig;
use function::environment::Environment;
use schema::payment::Payment;

use crate::direct::{Attempt, Direct};
use crate::failure::{Failure, Operation};
use crate::item::{self, Item, PaymentItem, Submission, text};
use crate::record::{Kind, Record};

/// The environment variable with another endpoint for DynamoDB's calls.
pub const ENDPOINT: &str = "AWS_ENDPOINT_URL_DYNAMODB";

/// The condition under which a payment is put.
const NOT_STORED: &str = "attribute_not_exists(paymentId)";

/// The condition under which a record is written that is not a held one.
const NOT_FINAL: &str = "attribute_not_exists(userId) OR #kind IN (:held, :discarded)";

/// The condition under which a held record is written. An operator can discard a letter before the
/// function that sent it has recorded it as held: then it stays discarded.
const NOT_DISCARDED_SINCE: &str = "attribute_not_exists(userId) OR #kind = :held OR \
                                   (#kind = :discarded AND recordedAt < :recordedAt)";

/// The two tables. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PaymentsTable {
    pub(crate) client: Client,
    direct: Option<Direct>,
    pub(crate) payments: String,
    pub(crate) refusals: String,
}

/// A client of DynamoDB; `AWS_ENDPOINT_URL_DYNAMODB` sends it elsewhere.
#[must_use]
pub fn client(config: &SdkConfig, environment: &impl Environment) -> Client {
    let mut builder = aws_sdk_dynamodb::config::Builder::from(config);
    builder.set_endpoint_url(environment.value(ENDPOINT));
    Client::from_conf(builder.build())
}

/// What a conditional put found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// Nothing was stored under the key; the payment is now.
    Stored,
    /// A payment is stored under the key, and stays as it is.
    Exists(PaymentItem),
}

impl PaymentsTable {
    /// Tables by their names.
    #[must_use]
    pub fn new(client: Client, payments: String, refusals: String) -> PaymentsTable {
        PaymentsTable { client, direct: None, payments, refusals }
    }

    /// The same tables, but the first attempt to store a payment is made by `direct`.
    #[must_use]
    pub fn with_direct(self, direct: Direct) -> PaymentsTable {
        PaymentsTable { direct: Some(direct), ..self }
    }

    /// Stores a payment unless one is stored under its paymentId and userId: one round trip tells a
    /// new payment from a duplicate and shows the stored one.
    ///
    /// # Errors
    /// Any other answer of the table, and no answer at all. The payment may be stored all the same when
    /// the reply was lost; putting it again then finds it.
    pub async fn put_payment(
        &self,
        payment: &Payment,
        submission: &Submission,
        now_ms: i64,
    ) -> Result<Put, Failure> {
        let item = item::of_payment(payment, submission, now_ms);
        let resumed = match &self.direct {
            None => None,
            Some(direct) => match direct.put(&self.payments, &item, NOT_STORED).await {
                Attempt::Stored => return Ok(Put::Stored),
                Attempt::Unclear(made) => Some(direct.after(*made)),
                Attempt::Unsigned => None,
            },
        };
        let put = self
            .client
            .put_item()
            .table_name(&self.payments)
            .set_item(Some(item))
            .condition_expression(NOT_STORED)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .customize()
            .config_override(resumed.unwrap_or_default());
        match put.send().await {
            Ok(_) => Ok(Put::Stored),
            Err(error) => match condition_failed(&error) {
                Some(stored) => item::read_payment(stored).map(Put::Exists),
                None => Err(Failure::of(Operation::PutPayment, &error)),
            },
        }
    }

    /// Records a submission that is not the stored one. A refusal or a duplicate is final: it is written
    /// once. A record that is held or discarded gives way to any other, so that each further death
    /// renews it; only what was held before it was discarded comes too late.
    ///
    /// # Errors
    /// Any answer of the table other than success and a failed condition, and no answer at all.
    pub async fn record(&self, record: &Record) -> Result<(), Failure> {
        let put = self
            .client
            .put_item()
            .table_name(&self.refusals)
            .set_item(Some(record.to_item()?))
            .expression_attribute_names("#kind", "kind")
            .expression_attribute_values(":held", text(Kind::Held.name()))
            .expression_attribute_values(":discarded", text(Kind::Discarded.name()));
        let put = match record.kind {
            Kind::Held => put
                .condition_expression(NOT_DISCARDED_SINCE)
                .expression_attribute_values(":recordedAt", text(&record.recorded_at)),
            Kind::Refused | Kind::Duplicate | Kind::Discarded => {
                put.condition_expression(NOT_FINAL)
            }
        };
        match put.send().await {
            Ok(_) => Ok(()),
            Err(error) => match condition_failed(&error) {
                Some(_) => Ok(()),
                None => Err(Failure::of(Operation::RecordRefusal, &error)),
            },
        }
    }
}

/// The item that a failed condition returned; `None` for every other error.
fn condition_failed<R>(error: &SdkError<PutItemError, R>) -> Option<Item> {
    match error.as_service_error() {
        Some(PutItemError::ConditionalCheckFailedException(failed)) => {
            Some(failed.item().cloned().unwrap_or_default())
        }
        _ => None,
    }
}
