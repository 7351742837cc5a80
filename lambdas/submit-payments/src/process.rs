//! Doing what is to be done with a record. Every effect is durable before the outcome says so.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use schema::envelope::{DeadLetter, DeadReason};
use schema::json::parse_object;
use schema::payment::{Payment, readable_payment_id};
use schema::refusal::Refusal;
use schema::text::PaymentId;
use schema::timestamp::rfc3339;
use tables::record::Because;
use tables::{Failure, Kind, PaymentItem, Put};

use crate::batch::Invocation;
use crate::config::Config;
use crate::edges::Edges;
use crate::outcome::Outcome;
use crate::record::{Beside, Plan, Record};

/// The longest delay before a retry.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(15 * 60);

/// Each delay is so many times the one before.
const RETRY_DELAY_FACTOR: u32 = 4;

/// Why a record is not done: what it is retried for, and died of when it was its last receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The reason.
    pub reason: DeadReason,
    /// What failed, in words.
    pub detail: String,
    /// Whether another try may help.
    pub may_pass: bool,
}

impl From<Failure> for Unfinished {
    fn from(failure: Failure) -> Self {
        Unfinished {
            reason: failure.reason,
            may_pass: failure.may_pass(),
            detail: failure.to_string(),
        }
    }
}

/// Carries out a record's plan.
///
/// # Errors
/// What kept the outcome from becoming durable; [`give_up`] decides what then becomes of the record.
pub async fn carry_out(
    edges: &impl Edges,
    invocation: &Invocation,
    record: &Record,
) -> Result<Outcome, Unfinished> {
    match record.plan(|body, accepted_at_ms| edges.parse(body, accepted_at_ms)) {
        Plan::Put(payment) => put(edges, invocation, record, &payment).await,
        Plan::Refuse(refusal) => judge(edges, invocation, record, refusal).await,
        Plan::Unverified => Err(Unfinished {
            reason: DeadReason::Unverified,
            detail: "no verified subject on the message".to_owned(),
            may_pass: false,
        }),
        Plan::UnknownKind => Err(Unfinished {
            reason: DeadReason::UnknownKind,
            detail: "a kind of message that this version does not know".to_owned(),
            may_pass: true,
        }),
    }
}

async fn put(
    edges: &impl Edges,
    invocation: &Invocation,
    record: &Record,
    payment: &Payment,
) -> Result<Outcome, Unfinished> {
    match edges.put_payment(payment, &record.submission, invocation.now_ms()).await? {
        Put::Stored => Ok(Outcome::Stored),
        Put::Exists(stored) => match record.beside(payment.body(), &stored) {
            Beside::Replay => Ok(Outcome::Stored),
            Beside::Duplicate => repeated(edges, invocation, record, &stored).await,
            Beside::Conflict { fields } => {
                refuse(edges, invocation, record, Refusal::Conflict { fields }).await
            }
        },
    }
}

/// Refuses a submission, unless it was stored by a version of the function whose rules it kept: a rule
/// that becomes stricter never judges what is stored.
async fn judge(
    edges: &impl Edges,
    invocation: &Invocation,
    record: &Record,
    refusal: Refusal,
) -> Result<Outcome, Unfinished> {
    let may_be_stored = match refusal {
        Refusal::Malformed { .. } | Refusal::Invalid { .. } => true,
        Refusal::OwnerMismatch | Refusal::Conflict { .. } => false,
    };
    if may_be_stored
        && let Some(user_id) = &record.envelope.sub
        && let Some(payment_id) = readable_payment_id(&record.body)
        && let Some(stored) = edges.stored_payment(user_id, payment_id.as_str()).await?
    {
        match parse_object(&record.body).map(|body| record.beside(&body, &stored)) {
            Ok(Beside::Replay) => return Ok(Outcome::Stored),
            Ok(Beside::Duplicate) => return repeated(edges, invocation, record, &stored).await,
            Ok(Beside::Conflict { .. }) => {}
            // Such a body can be compared with nothing, but a request has only one body.
            Err(_) if stored.request_id == record.submission.request_id => {
                return Ok(Outcome::Stored);
            }
            Err(_) => {}
        }
    }
    refuse(edges, invocation, record, refusal).await
}

/// Records that another request stored the same payment, so that whoever asks by this request's id
/// learns it.
async fn repeated(
    edges: &impl Edges,
    invocation: &Invocation,
    record: &Record,
    stored: &PaymentItem,
) -> Result<Outcome, Unfinished> {
    let because = Because {
        kind: Kind::Duplicate,
        reason: Kind::Duplicate.name(),
        message: "the same payment is stored; another request submitted it".to_owned(),
        fields: Vec::new(),
    };
    let md5 = &record.submission.body_md5;
    let is_same_bytes = !md5.is_empty() && *md5 == stored.body_md5;
    let body = if is_same_bytes { None } else { Some(record.body.as_str()) };
    write(edges, record, because, body, invocation.now_ms()).await?;
    Ok(Outcome::Duplicate)
}

async fn refuse(
    edges: &impl Edges,
    invocation: &Invocation,
    record: &Record,
    refusal: Refusal,
) -> Result<Outcome, Unfinished> {
    let because = Because {
        kind: Kind::Refused,
        reason: refusal.reason(),
        message: refusal.to_string(),
        fields: refusal.fields(),
    };
    write(edges, record, because, Some(&record.body), invocation.now_ms()).await?;
    Ok(Outcome::Refused(refusal))
}

/// What becomes of a record that is not done: another delivery after a delay, or, when that cannot help
/// or this was the last permitted receive, the dead-letter queue.
pub async fn give_up(
    config: &Config,
    edges: &impl Edges,
    invocation: &Invocation,
    record: &Record,
    unfinished: Unfinished,
) -> Outcome {
    let reason = unfinished.reason;
    if unfinished.may_pass && record.receive_count < config.receive_count_max {
        let delay = retry_delay(config, record);
        if let Err(failure) = edges.postpone(record, delay).await {
            // The message then waits for its whole visibility timeout instead.
            tracing::warn!(messageId = record.message_id, %failure, "retry not postponed");
        }
        return Outcome::Retry(reason);
    }
    // Taken before the letter is sent: an operator who discards it does so later.
    let died_ms = invocation.now_ms();
    let dead_letter = dead_letter(invocation, record, &unfinished, died_ms);
    if let Err(failure) = edges.send_dead_letter(record, &dead_letter).await {
        // The queue delivers it again, or moves it to the dead-letter queue itself.
        tracing::error!(messageId = record.message_id, %failure, "dead letter not sent");
        return Outcome::Retry(reason);
    }
    let because = Because {
        kind: Kind::Held,
        reason: reason.name(),
        message: "held for an operator".to_owned(),
        fields: Vec::new(),
    };
    if record.envelope.sub.is_some()
        && let Err(failure) = write(edges, record, because, Some(&record.body), died_ms).await
    {
        // The dead letter is what counts; the record only tells the client.
        tracing::warn!(messageId = record.message_id, %failure, "held record not written");
    }
    Outcome::Dead(reason)
}

/// The delay before the next delivery: 1, 4, 16 … times the first, at most 15 minutes, of which up to a
/// fifth is taken off so that a batch that failed together does not return together. Derived from the
/// message and its receive count, so that a run can be repeated. In whole seconds, rounded up: the queue
/// knows no others, and a delay must not round to none.
fn retry_delay(config: &Config, record: &Record) -> Duration {
    let retries = record.receive_count.saturating_sub(1);
    let factor = RETRY_DELAY_FACTOR.saturating_pow(retries);
    let delay = config.retry_delay.saturating_mul(factor).min(RETRY_DELAY_MAX);
    let mut hasher = DefaultHasher::new();
    (&record.message_id, record.receive_count).hash(&mut hasher);
    let off = u32::try_from(hasher.finish() % 200).unwrap_or_default();
    let delay = delay - delay * off / 1000;
    Duration::from_secs(delay.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
}

fn dead_letter(
    invocation: &Invocation,
    record: &Record,
    unfinished: &Unfinished,
    died_ms: i64,
) -> DeadLetter {
    let before = record.envelope.dead_letter.as_ref();
    DeadLetter {
        reason: unfinished.reason,
        detail: unfinished.detail.clone(),
        original_message_id: record.submission.message_id.clone(),
        receive_count: record.receive_count,
        function_version: invocation.function_version.clone(),
        at: rfc3339(died_ms),
        redrive_count: before.map_or(0, |dead_letter| dead_letter.redrive_count),
    }
}

/// Puts a submission on record under its verified user.
async fn write(
    edges: &impl Edges,
    record: &Record,
    because: Because,
    body: Option<&str>,
    now_ms: i64,
) -> Result<(), Failure> {
    let Some(sub) = &record.envelope.sub else { unreachable!("nobody to record it for") };
    let payment_id = readable_payment_id(&record.body);
    let entry = tables::Record::new(
        sub,
        payment_id.as_ref().map(PaymentId::as_str),
        &record.submission,
        body,
        because,
        now_ms,
    );
    edges.record(&entry).await
}
