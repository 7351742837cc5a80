//! Doing what is to be done with a message. Every effect is durable before the outcome says so.

use function::dead_letter::DeadReason;
use function::invocation::Invocation;
use function::retry::{self, GivenUp, Unfinished};
use function::settings::Settings;
use schema::json::parse_object;
use schema::payment::{Payment, readable_payment_id};
use schema::refusal::Refusal;
use schema::text::PaymentId;
use tables::record::Because;
use tables::{Failure, Kind, PaymentItem, Put, Record};

use crate::edges::Edges;
use crate::outcome::Outcome;
use crate::received::{Beside, Plan, Received};

/// Carries out a message's plan.
///
/// # Errors
/// What kept the outcome from becoming durable; [`give_up`] decides what then becomes of the message.
pub async fn carry_out(
    edges: &impl Edges,
    invocation: &Invocation,
    received: &Received,
) -> Result<Outcome, Unfinished> {
    match received.plan(|body, accepted_at_ms| edges.parse(body, accepted_at_ms)) {
        Plan::Put(payment) => put(edges, invocation, received, &payment).await,
        Plan::Refuse(refusal) => judge(edges, invocation, received, refusal).await,
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
    received: &Received,
    payment: &Payment,
) -> Result<Outcome, Unfinished> {
    match edges.put_payment(payment, &received.submission, invocation.now_ms()).await? {
        Put::Stored => Ok(Outcome::Stored),
        Put::Exists(stored) => match received.beside(payment.body(), &stored) {
            Beside::Replay => Ok(Outcome::Stored),
            Beside::Duplicate => repeated(edges, invocation, received, &stored).await,
            Beside::Conflict { fields } => {
                refuse(edges, invocation, received, Refusal::Conflict { fields }).await
            }
        },
    }
}

/// Refuses a submission, unless it was stored by a version of the function whose rules it kept: a rule
/// that becomes stricter never judges what is stored.
async fn judge(
    edges: &impl Edges,
    invocation: &Invocation,
    received: &Received,
    refusal: Refusal,
) -> Result<Outcome, Unfinished> {
    let may_be_stored = match refusal {
        Refusal::Malformed { .. } | Refusal::Invalid { .. } => true,
        Refusal::OwnerMismatch | Refusal::Conflict { .. } => false,
    };
    if may_be_stored
        && let Some(user_id) = &received.envelope.sub
        && let Some(payment_id) = readable_payment_id(&received.message.body)
        && let Some(stored) = edges.stored_payment(user_id, payment_id.as_str()).await?
    {
        match parse_object(&received.message.body).map(|body| received.beside(&body, &stored)) {
            Ok(Beside::Replay) => return Ok(Outcome::Stored),
            Ok(Beside::Duplicate) => return repeated(edges, invocation, received, &stored).await,
            Ok(Beside::Conflict { .. }) => {}
            // Such a body can be compared with nothing, but a request has only one body.
            Err(_) if stored.request_id == received.submission.request_id => {
                return Ok(Outcome::Stored);
            }
            Err(_) => {}
        }
    }
    refuse(edges, invocation, received, refusal).await
}

/// Records that another request stored the same payment, so that whoever asks by this request's id
/// learns it.
async fn repeated(
    edges: &impl Edges,
    invocation: &Invocation,
    received: &Received,
    stored: &PaymentItem,
) -> Result<Outcome, Unfinished> {
    let because = Because {
        kind: Kind::Duplicate,
        reason: Kind::Duplicate.name(),
        message: "the same payment is stored; another request submitted it".to_owned(),
        fields: Vec::new(),
    };
    let md5 = &received.submission.body_md5;
    let is_same_bytes = !md5.is_empty() && *md5 == stored.body_md5;
    let body = if is_same_bytes { None } else { Some(received.message.body.as_str()) };
    write(edges, received, because, body, invocation.now_ms()).await?;
    Ok(Outcome::Duplicate)
}

async fn refuse(
    edges: &impl Edges,
    invocation: &Invocation,
    received: &Received,
    refusal: Refusal,
) -> Result<Outcome, Unfinished> {
    let because = Because {
        kind: Kind::Refused,
        reason: refusal.reason(),
        message: refusal.to_string(),
        fields: refusal.fields(),
    };
    write(edges, received, because, Some(&received.message.body), invocation.now_ms()).await?;
    Ok(Outcome::Refused(refusal))
}

/// Gives a message up, and puts a submission that is now in the dead-letter queue on record as held.
pub async fn give_up(
    settings: &Settings,
    edges: &impl Edges,
    invocation: &Invocation,
    received: &Received,
    unfinished: Unfinished,
) -> Outcome {
    let reason = unfinished.reason;
    let message = &received.message;
    match retry::give_up(settings, edges, invocation, message, &unfinished).await {
        GivenUp::Retry => Outcome::Retry(reason),
        GivenUp::Dead { at_ms } => {
            hold(edges, received, reason, at_ms).await;
            Outcome::Dead(reason)
        }
    }
}

async fn hold(edges: &impl Edges, received: &Received, reason: DeadReason, died_ms: i64) {
    let because = Because {
        kind: Kind::Held,
        reason: reason.name(),
        message: "held for an operator".to_owned(),
        fields: Vec::new(),
    };
    let message = &received.message;
    if received.envelope.sub.is_some()
        && let Err(failure) = write(edges, received, because, Some(&message.body), died_ms).await
    {
        // The dead letter is what counts; the record only tells the client.
        tracing::warn!(messageId = message.message_id, %failure, "held record not written");
    }
}

/// Puts a submission on record under its verified user.
async fn write(
    edges: &impl Edges,
    received: &Received,
    because: Because,
    body: Option<&str>,
    now_ms: i64,
) -> Result<(), Failure> {
    let Some(sub) = &received.envelope.sub else { unreachable!("nobody to record it for") };
    let payment_id = readable_payment_id(&received.message.body);
    let entry = Record::new(
        sub,
        payment_id.as_ref().map(PaymentId::as_str),
        &received.submission,
        body,
        because,
        now_ms,
    );
    edges.record(&entry).await
}
