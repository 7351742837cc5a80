//! Behind the gateway: requests as API Gateway hands them to a function, and responses as it takes them.

mod request;
mod response;

use std::convert::Infallible;
use std::time::{Duration, Instant, SystemTime};

use lambda_runtime::{LambdaEvent, service_fn};

pub use self::request::{Invalid, Request, number};
pub use self::response::{Context, Response};

/// The time that is left for the answer when an invocation's time is over.
const DEADLINE_MARGIN: Duration = Duration::from_secs(1);

/// Answers requests until the environment ends, and logs each one. `answer` is given the time that is left
/// for the answer.
///
/// # Errors
/// A Runtime API that does not answer.
pub async fn serve(answer: impl AsyncFn(&Request, Duration) -> Response) -> anyhow::Result<()> {
    let answer = &answer;
    let handler = service_fn(async move |event: LambdaEvent<Request>| {
        let started = Instant::now();
        let (request, context) = (event.payload, event.context);
        let left = context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
        // Boxed: the compiler gives up on the size of so many futures inside one another.
        let response = Box::pin(answer(&request, left.saturating_sub(DEADLINE_MARGIN))).await;
        // Neither a path nor a user: what was asked for is the client's affair.
        tracing::info!(
            requestId = request.request_id(),
            route = request.resource(),
            status = response.status(),
            tookMs = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "request"
        );
        Ok::<_, Infallible>(response)
    });
    lambda_runtime::run(handler).await.map_err(anyhow::Error::from_boxed)
}
