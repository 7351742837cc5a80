//! What several commands say of letters, in the same words: what failed, why letters died, one letter without
//! what its payment says.

use std::collections::BTreeMap;
use std::time::Duration;

use schema::timestamp::rfc3339;
use serde::Serialize;
use serde_json::{Value, json};

use crate::audit::Audit;
use crate::dlq::desk::Desk;
use crate::dlq::letter::{Letter, ids_of};
use crate::error::Error;
use crate::terminal::{masked, note, printable};

/// Columns of the longest reason that is shown in full.
pub(crate) const REASON_MAX: usize = 17;

/// Failures that are named on the terminal; the audit log names all.
const NAMED_MAX: usize = 20;

/// What the counts mean; stands below every listing.
pub(crate) const APPROXIMATE: &str = "Counts are approximate: messages come and go, and SQS may\nshow one \
    late. All were released.";

/// A message with which something went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failed {
    /// The message.
    pub(crate) message_id: String,
    /// What went wrong.
    pub(crate) why: String,
}

/// Names the messages with which something went wrong.
pub(crate) fn print_failed(failed: &[Failed]) {
    for Failed { message_id, why } in failed.iter().take(NAMED_MAX) {
        note(&format!("failed: {message_id}: {why}"));
    }
    if let Some(more) = failed.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        note(&format!("failed: {more} more; the audit log names them"));
    }
}

/// How many letters died of what: `3 throttled, 1 unknown`.
pub(crate) fn reasons(letters: &[Letter]) -> String {
    counted(letters.iter().map(Letter::reason))
}

/// How often each reason occurs: `3 throttled, 1 unknown`.
pub(crate) fn counted<'a>(reasons: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let counts = counts.iter().map(|(reason, count)| format!("{count} {}", printable(reason)));
    counts.collect::<Vec<_>>().join(", ")
}

/// Writes into the audit log that an operator is shown users or bodies.
///
/// # Errors
/// The line cannot be written. Then nothing must be revealed.
pub(crate) async fn record_reveal(
    desk: &Desk,
    action: &'static str,
    filter: Value,
    letters: &[Letter],
) -> Result<(), Error> {
    let about = json!({
        "who": desk.place.who().await,
        "queue": desk.place.dead_letter_queue_url,
        "filter": filter,
        "messageIds": ids_of(letters),
        "revealed": true,
    });
    Audit::begin(&desk.place.audit_log, action, &about).map(|_| ())
}

/// A letter for programs, without its body.
pub(crate) fn described(letter: &Letter, reveal: bool) -> Value {
    json!({
        "messageId": letter.message_id,
        "reason": letter.reason(),
        "detail": letter.detail(),
        "functionVersion": letter.version(),
        "receivesBeforeDeath": letter.receives_before_death(),
        "receivesOfQueue": letter.receives,
        "redriveCount": letter.redrives(),
        "sentAt": rfc3339(letter.sent_at_ms),
        "acceptedAt": letter.envelope.accepted_at_ms.map(rfc3339),
        "requestId": letter.request_id(),
        "originalMessageId": letter.original_message_id(),
        "paymentId": letter.payment_id(),
        "user": letter.user().map(|user| shown(user, reveal)),
        "bodyMd5": letter.body_md5(),
    })
}

/// A user, masked unless revealed.
pub(crate) fn shown(user: &str, reveal: bool) -> String {
    if reveal { user.to_owned() } else { masked(user) }
}

/// How often the function had received a letter when it died. Where the queue itself moved the message,
/// that is at most the queue's own count.
pub(crate) fn received(letter: &Letter) -> String {
    match letter.receives_before_death() {
        Some(count) => count.to_string(),
        None => format!("≤{}", letter.receives),
    }
}

/// How long ago a point in time is.
pub(crate) fn age(since_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(now_ms - since_ms).unwrap_or_default())
}

/// How long the queue still keeps a message.
pub(crate) fn left(since_ms: i64, retention: Duration, now_ms: i64) -> Duration {
    retention.saturating_sub(age(since_ms, now_ms))
}
