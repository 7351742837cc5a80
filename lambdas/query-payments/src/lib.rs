//! What became of a payment, and which payments somebody has: the function behind `GET /payments` and
//! `GET /payments/{paymentId}`.
//!
//! - [`run`]: the process; reads [`config`], builds the client, answers requests.
//! - [`question`]: a request as a question, or what is wrong with it. Pure. **A new parameter** goes here.
//! - [`cursor`]: where a page begins, signed. Pure.
//! - [`outcome`]: what is found in the tables, as the API answers it. Pure.
//! - [`answer`]: reading the tables, waiting for an outcome, the answer.
//!
//! Nothing here writes to a table, or reads anything of another user than the token's: the user is
//! taken from the verified claims only, and every read names it as a key.

pub mod answer;
pub mod config;
pub mod cursor;
pub mod outcome;
pub mod question;

use std::time::Duration;

use function::environment::Environment;
use function::{connection, logs, proxy};
use tables::PaymentsTable;

use crate::answer::Reader;
use crate::config::Config;

/// The longest that one call of a table may take, with all its attempts.
const READ_TIMEOUT: Duration = Duration::from_millis(2_500);

/// Runs the function until its environment ends.
///
/// # Errors
/// A variable that is missing or wrong, or a Runtime API that does not answer.
pub async fn run(environment: &impl Environment) -> anyhow::Result<()> {
    logs::start();
    let config = Config::read(environment)?;
    let sdk = connection::sdk_config(environment, &connection::http_connector(), READ_TIMEOUT)?;
    let client = tables::client(&sdk, environment);
    let (payments, refusals) = (config.payments_table.clone(), config.refusals_table.clone());
    let reader = Reader::new(config, PaymentsTable::new(client, payments, refusals));
    proxy::serve(async |request, left| reader.answer(request, left).await).await
}
