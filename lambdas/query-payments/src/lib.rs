//! What became of a payment, and which payments somebody has: the function behind `GET /payments` and
//! `GET /payments/{paymentId}`.
//!
//! - [`run`]: the process; reads [`config`], builds the client, answers requests.
//! - [`request`]: an event as a question, or what is wrong with it. Pure. **A new parameter** goes here.
//! - [`cursor`]: where a page begins, signed. Pure.
//! - [`outcome`]: what is found in the tables, as the API answers it. Pure.
//! - [`answer`]: reading the tables, waiting for an outcome, the answer.
//! - [`response`]: answers as API Gateway takes them, with ETag. Pure.
//!
//! Nothing here writes to a table, or reads anything of another user than the token's: the user is
//! taken from the verified claims only, and every read names it as a key.

pub mod answer;
pub mod config;
pub mod cursor;
pub mod outcome;
pub mod request;
pub mod response;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lambda_runtime::{LambdaEvent, service_fn};
use tables::environment::Environment;
use tables::{PaymentsTable, connection};
use tracing_subscriber::EnvFilter;

use crate::answer::Reader;
use crate::config::Config;
use crate::request::Event;
use crate::response::Response;

/// The time that is left for the answer when an invocation's time is over.
const DEADLINE_MARGIN: Duration = Duration::from_secs(1);

/// The longest that one call of a table may take, with all its attempts.
const READ_TIMEOUT: Duration = Duration::from_millis(2_500);

/// Runs the function until its environment ends.
///
/// # Errors
/// A variable that is missing or wrong, or a Runtime API that does not answer.
pub async fn run(environment: &impl Environment) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A second start is a test's; the first one stays.
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .try_init();
    let config = Config::read(environment)?;
    let sdk = connection::sdk_config(environment, &connection::http_connector(), READ_TIMEOUT)?;
    let client = connection::dynamodb(&sdk, environment);
    let (payments, refusals) = (config.payments_table.clone(), config.refusals_table.clone());
    let table = PaymentsTable::new(client, payments, refusals);
    let reader = Arc::new(Reader::new(config, table));
    let handler = service_fn(move |event: LambdaEvent<Event>| {
        let reader = Arc::clone(&reader);
        // Boxed: the compiler gives up on the size of so many futures inside one another.
        async move { Ok::<_, Infallible>(Box::pin(handle(&reader, event)).await) }
    });
    lambda_runtime::run(handler).await.map_err(anyhow::Error::from_boxed)
}

async fn handle(reader: &Reader, event: LambdaEvent<Event>) -> Response {
    let started = Instant::now();
    let left = event.context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
    let response = reader.answer(&event.payload, left.saturating_sub(DEADLINE_MARGIN)).await;
    // Neither a paymentId nor a user: what was asked for is the client's affair.
    tracing::info!(
        requestId = event.payload.request_id(),
        route = event.payload.resource(),
        status = response.status(),
        tookMs = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "request"
    );
    response
}
