//! What becomes of a message that is not done: another delivery after a delay, or the dead-letter queue.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use schema::timestamp::rfc3339;

use crate::dead_letter::{DeadLetter, DeadReason};
use crate::invocation::Invocation;
use crate::queue::{Message, Queue};
use crate::settings::{RETRY_DELAY_MAX, Settings};

/// Each delay is four times the one before.
const RETRY_DELAY_FACTOR: u32 = 4;

/// Why a message is not done: what it is retried for, and died of when it was its last receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The reason.
    pub reason: DeadReason,
    /// What failed, in words.
    pub detail: String,
    /// Whether another try may help.
    pub may_pass: bool,
}

/// What became of a message that was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// The queue delivers it again.
    Retry,
    /// It is in the dead-letter queue.
    Dead {
        /// Since when, in milliseconds since 1970-01-01 UTC.
        at_ms: i64,
    },
}

/// Gives a message up: another delivery after a delay, or, when that cannot help or this was the last
/// permitted receive, the dead-letter queue.
pub async fn give_up(
    settings: &Settings,
    queue: &impl Queue,
    invocation: &Invocation,
    message: &Message,
    unfinished: &Unfinished,
) -> GivenUp {
    if unfinished.may_pass && message.receive_count < settings.receive_count_max {
        let delay = retry_delay(settings, message);
        if let Err(failure) = queue.postpone(message, delay).await {
            // The message then waits for its whole visibility timeout instead.
            tracing::warn!(messageId = message.message_id, %failure, "retry not postponed");
        }
        return GivenUp::Retry;
    }
    // Taken before the letter is sent: an operator who discards it does so later.
    let at_ms = invocation.now_ms();
    let dead_letter = DeadLetter {
        reason: unfinished.reason,
        detail: unfinished.detail.clone(),
        original_message_id: message.original_id().to_owned(),
        receive_count: message.receive_count,
        function_version: invocation.function_version.clone(),
        at: rfc3339(at_ms),
        redrive_count: message.dead_letter.as_ref().map_or(0, |died| died.redrive_count),
    };
    match queue.send_dead_letter(message, &dead_letter).await {
        Ok(()) => GivenUp::Dead { at_ms },
        Err(failure) => {
            // The queue delivers it again, or moves it to the dead-letter queue itself.
            tracing::error!(messageId = message.message_id, %failure, "dead letter not sent");
            GivenUp::Retry
        }
    }
}

/// The delay before the next delivery: 1, 4, 16 … times the first, at most 15 minutes, of which up to a
/// fifth is taken off so that a batch that failed together does not return together. Derived from the
/// message and its receive count, so that a run can be repeated. In whole seconds, rounded up: the queue
/// knows no others, and a delay must not round to none.
fn retry_delay(settings: &Settings, message: &Message) -> Duration {
    let retries = message.receive_count.saturating_sub(1);
    let factor = RETRY_DELAY_FACTOR.saturating_pow(retries);
    let delay = settings.retry_delay.saturating_mul(factor).min(RETRY_DELAY_MAX);
    let mut hasher = DefaultHasher::new();
    (&message.message_id, message.receive_count).hash(&mut hasher);
    let off = u32::try_from(hasher.finish() % 200).unwrap_or_default();
    let delay = delay - delay * off / 1000;
    Duration::from_secs(delay.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
}
