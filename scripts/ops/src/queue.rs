//! What the calls of SQS have in common: their limits, and what a queue says of itself.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName as Name;

use crate::error::Error;

/// Entries of a batch call (SQS's quota).
pub(crate) const BATCH_MAX: usize = 10;

/// Batch calls under way at once. So many keep the local queue busy; SQS answers each in about 10 ms.
pub(crate) const LANES: usize = 8;

/// What a queue says of itself. The counts are approximate: SQS promises no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages that can be received.
    pub visible: u64,
    /// Messages that somebody has received and not deleted.
    pub in_flight: u64,
    /// Messages that become visible later.
    pub delayed: u64,
    /// How long the queue keeps a message.
    pub retention: Duration,
    /// The queue's name in IAM policies and for move tasks.
    pub arn: String,
}

impl Depth {
    /// Everything that the queue holds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.visible + self.in_flight + self.delayed
    }
}

/// Asks a queue for its counts.
///
/// # Errors
/// The queue does not answer.
pub async fn depth(client: &Client, queue_url: &str) -> Result<Depth, Error> {
    let names = [
        Name::ApproximateNumberOfMessages,
        Name::ApproximateNumberOfMessagesNotVisible,
        Name::ApproximateNumberOfMessagesDelayed,
        Name::MessageRetentionPeriod,
        Name::QueueArn,
    ];
    let get = client.get_queue_attributes().queue_url(queue_url);
    let got = get.set_attribute_names(Some(names.to_vec())).send().await;
    let got = got.map_err(|error| Error::call("ask the queue for its counts", &error))?;
    let attributes = got.attributes.unwrap_or_default();
    let number = |name: &Name| {
        attributes.get(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default()
    };
    Ok(Depth {
        visible: number(&Name::ApproximateNumberOfMessages),
        in_flight: number(&Name::ApproximateNumberOfMessagesNotVisible),
        delayed: number(&Name::ApproximateNumberOfMessagesDelayed),
        retention: Duration::from_secs(number(&Name::MessageRetentionPeriod)),
        arn: attributes.get(&Name::QueueArn).cloned().unwrap_or_default(),
    })
}
