//! Batches from the queue become payments in the table: the function behind the queue.
//!
//! - [`run`]: the process; reads [`config`], builds clients, polls for batches.
//! - [`batch`]: one batch: bounded concurrency, deadline, isolation of panics, the response.
//! - [`record`]: one record: what it says, and what is to be done with it. Pure.
//! - [`process`]: doing it, each effect durable before the record is acknowledged.
//! - [`outcome`]: what can become of a record. **A new outcome** goes here.
//! - [`edges`]: the table and the queues as the record path sees them.
//! - [`telemetry`]: a log line for each record, metrics for each batch.
//!
//! Nothing here acknowledges a record whose outcome is not durable, overwrites a payment, or writes a
//! body, a token or a name to a log.

pub mod batch;
pub mod config;
pub mod edges;
pub mod outcome;
pub mod process;
pub mod record;
pub mod telemetry;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::sqs::SqsBatchResponse;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::value::RawValue;
use tables::environment::Environment;

use crate::batch::Invocation;
use crate::config::Config;
use crate::edges::Aws;

/// Runs the function until its environment ends.
///
/// # Errors
/// A variable that is missing or wrong, or a Runtime API that does not answer: the process must end,
/// because an empty response would acknowledge a batch that nobody has read.
pub async fn run(environment: &impl Environment) -> anyhow::Result<()> {
    telemetry::start();
    let config = Config::read(environment)?;
    let edges = Aws::connect(&config, environment).await?;
    let shared = Arc::new((config, edges));
    // Taken as it is: the runtime would read it property by property with the path to each in hand, and
    // quote what it cannot read.
    let handler = service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let shared = Arc::clone(&shared);
        async move { handle(&shared.0, &shared.1, event).await }
    });
    lambda_runtime::run(handler).await.map_err(anyhow::Error::from_boxed)
}

async fn handle(
    config: &Config,
    edges: &Aws,
    event: LambdaEvent<Box<RawValue>>,
) -> Result<SqsBatchResponse, lambda_runtime::Error> {
    let now = SystemTime::now();
    let batch = batch::read(event.payload.get())?;
    let left = event.context.deadline().duration_since(now).unwrap_or(Duration::ZERO);
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let invocation = Invocation::new(
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX),
        left,
        event.context.env_config.version.clone(),
    );
    let report = batch::process(config, edges, &invocation, batch).await?;
    telemetry::emit(&event.context.env_config.function_name, &invocation, &report);
    Ok(report.response())
}
