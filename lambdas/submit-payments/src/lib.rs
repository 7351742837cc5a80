//! Batches from the queue become payments in the table: the function behind the queue.
//!
//! - [`run`]: the process; reads [`config`], builds clients, takes batches.
//! - [`batch`]: one batch.
//! - [`received`]: one message: what it says, and what is to be done with it. Pure.
//! - [`process`]: doing it, each effect durable before the message is acknowledged.
//! - [`outcome`]: what can become of a message. **A new outcome** goes here.
//! - [`edges`]: the table and the queue as the function sees them.
//!
//! Nothing here acknowledges a message whose outcome is not durable, overwrites a payment, or writes a
//! body, a token or a name to a log.

pub mod batch;
pub mod config;
pub mod edges;
pub mod outcome;
pub mod process;
pub mod received;

use function::environment::Environment;
use function::logs;

use crate::config::Config;
use crate::edges::Aws;

/// Runs the function until its environment ends.
///
/// # Errors
/// A variable that is missing or wrong, or a Runtime API that does not answer: the process must end,
/// because an empty response would acknowledge a batch that nobody has read.
pub async fn run(environment: &impl Environment) -> anyhow::Result<()> {
    logs::start();
    let config = Config::read(environment)?;
    let edges = Aws::connect(&config, environment).await?;
    function::batch::serve(async |invocation, event| {
        batch::process(&config, &edges, invocation, event).await
    })
    .await
}
