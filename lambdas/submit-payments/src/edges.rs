//! The table and the queue as the function sees them. AWS is one implementation; the tests and the
//! simulator have their own.

use std::future::Future;
use std::time::Duration;

use function::connection;
use function::dead_letter::DeadLetter;
use function::environment::Environment;
use function::queue::{Message, Queue, QueueFailure, Sqs};
use schema::payment::Payment;
use schema::refusal::Refusal;
use tables::direct::Direct;
use tables::{Failure, PaymentItem, PaymentsTable, Put, Record, Submission};

use crate::config::Config;

/// The longest that one call may take with all its attempts, in percent of the margin before the deadline:
/// a call that outlived the margin would be cut off by the end of the invocation.
const CALL_PERCENT: u32 = 80;

/// What the function asks of the world. Every call may have taken effect although it failed.
pub trait Edges: Queue {
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
    fn record(&self, record: &Record) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// DynamoDB and SQS.
#[derive(Debug, Clone)]
pub struct Aws {
    table: PaymentsTable,
    queue: Sqs,
}

impl Aws {
    /// Builds the clients and makes the first connection to the table, while the environment starts.
    ///
    /// # Errors
    /// A variable that Lambda always sets is missing, or its region is unknown.
    pub async fn connect(config: &Config, environment: &impl Environment) -> anyhow::Result<Aws> {
        let settings = &config.batch;
        let operation_timeout = settings.deadline_margin * CALL_PERCENT / 100;
        let http = connection::http_connector();
        let sdk = connection::sdk_config(environment, &http, operation_timeout)?;
        let endpoint = environment.value(tables::ENDPOINT);
        let direct = Direct::new(http, connection::identity(environment)?, endpoint).await?;
        direct.warm_up().await;
        Ok(Aws {
            table: PaymentsTable::new(
                tables::client(&sdk, environment),
                config.payments_table.clone(),
                config.refusals_table.clone(),
            )
            .with_direct(direct),
            queue: Sqs::new(
                &sdk,
                environment,
                settings.queue_url.clone(),
                settings.dead_letter_queue_url.clone(),
            ),
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

    async fn record(&self, record: &Record) -> Result<(), Failure> {
        self.table.record(record).await
    }
}

impl Queue for Aws {
    async fn send_dead_letter(
        &self,
        message: &Message,
        dead_letter: &DeadLetter,
    ) -> Result<(), QueueFailure> {
        self.queue.send_dead_letter(message, dead_letter).await
    }

    async fn postpone(&self, message: &Message, delay: Duration) -> Result<(), QueueFailure> {
        self.queue.postpone(message, delay).await
    }
}
