//! One batch: its messages side by side, none of which can harm another.

use aws_lambda_events::sqs::SqsEvent;
use function::batch::{self, Done, MissingMessageId};
use function::invocation::Invocation;

use crate::config::Config;
use crate::edges::Edges;
use crate::outcome::Outcome;
use crate::process::{carry_out, give_up};
use crate::received::Received;

/// What became of a batch.
pub type Report = batch::Report<Outcome>;

/// Processes a batch.
///
/// The retry contract: a message that the report does not acknowledge is delivered again; delivering any
/// message again, at any time, in any company, is harmless.
///
/// # Errors
/// [`MissingMessageId`]; nothing has been done then.
pub async fn process(
    config: &Config,
    edges: &impl Edges,
    invocation: &Invocation,
    event: SqsEvent,
) -> Result<Report, MissingMessageId> {
    let messages = batch::messages(event)?.into_iter().map(Received::read).collect::<Vec<_>>();
    let one = async |received| one(config, edges, invocation, received).await;
    Ok(batch::each(&config.batch, &messages, one).await)
}

async fn one(
    config: &Config,
    edges: &impl Edges,
    invocation: &Invocation,
    received: &Received,
) -> Done<Outcome> {
    let settings = &config.batch;
    let outcome = batch::isolated(
        settings,
        invocation,
        carry_out(edges, invocation, received),
        |unfinished| give_up(settings, edges, invocation, received, unfinished),
        Outcome::Retry,
    )
    .await;
    let Received { message, submission, .. } = received;
    let submitted = (submission.request_id.as_str(), submission.accepted_at_ms);
    Done::logged(invocation, message, submitted, outcome)
}
