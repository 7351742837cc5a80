//! A queue, the way a mapping needs it.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use queue::{QueueError, Queues, Received};

/// A queue, the way the mapping needs it.
pub trait MessageSource: Clone + Send + Sync + 'static {
    /// Why the queue did not do as asked.
    type Error: Display + Send;

    /// The queue's ARN.
    fn arn(&self, queue: &str) -> String;

    /// Up to `max` messages, as soon as there is one; none after `wait`.
    fn receive(
        &self,
        queue: &str,
        max: usize,
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<Received>, Self::Error>> + Send;

    /// Deletes the messages of these receipt handles.
    fn delete(
        &self,
        queue: &str,
        receipt_handles: Vec<String>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

impl MessageSource for Queues {
    type Error = QueueError;

    fn arn(&self, queue: &str) -> String {
        Queues::arn(self, queue)
    }

    async fn receive(
        &self,
        queue: &str,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Received>, QueueError> {
        Queues::receive(self, queue, max, wait).await
    }

    async fn delete(&self, queue: &str, receipt_handles: Vec<String>) -> Result<(), QueueError> {
        Queues::delete(self, queue, receipt_handles).await
    }
}
