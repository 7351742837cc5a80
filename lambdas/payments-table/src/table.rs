use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use schema::payment::Payment;

use crate::direct::{Attempt, Direct};
use crate::failure::{Failure, Operation};
use crate::item::{self, Item, StoredPayment, Submission};
use crate::record::{Kind, Record};

/// The condition under which a payment is put.
const NOT_STORED: &str = "attribute_not_exists(paymentId)";

/// The two tables. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PaymentsTable {
    pub(crate) client: Client,
    direct: Option<Direct>,
    pub(crate) payments: String,
    pub(crate) refusals: String,
}

/// What a conditional put found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// Nothing was stored under the key; the payment is now.
    Stored,
    /// A payment is stored under the key, and stays as it is.
    Exists(StoredPayment),
}

impl PaymentsTable {
    /// Tables by their names.
    #[must_use]
    pub fn new(client: Client, payments: String, refusals: String) -> PaymentsTable {
        PaymentsTable { client, direct: None, payments, refusals }
    }

    /// The tables with a way past the SDK for the first attempt of every payment.
    #[must_use]
    pub fn with_direct(self, direct: Direct) -> PaymentsTable {
        PaymentsTable { direct: Some(direct), ..self }
    }

    /// Stores a payment unless one is stored under its paymentId and userId: one round trip tells a
    /// new payment from a duplicate and shows the stored one.
    ///
    /// # Errors
    /// Every other answer of the table, and none. The payment may be stored all the same when the
    /// reply was lost; putting it again then finds it.
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

    /// Records a refused or held payment. A record is written once: a redelivery or a re-drive writes
    /// nothing new, and the first reason stays. Only a refusal replaces a held record, because then
    /// the payment is no longer held.
    ///
    /// # Errors
    /// Every answer of the table but a failed condition, and none.
    pub async fn record(&self, record: &Record) -> Result<(), Failure> {
        let item = record.to_item()?;
        let put = self.client.put_item().table_name(&self.refusals).set_item(Some(item));
        let put = match record.kind {
            Kind::Held => put.condition_expression("attribute_not_exists(userId)"),
            Kind::Refused => put
                .condition_expression("attribute_not_exists(userId) OR #kind = :held")
                .expression_attribute_names("#kind", "kind")
                .expression_attribute_values(":held", AttributeValue::S(Kind::Held.to_string())),
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
