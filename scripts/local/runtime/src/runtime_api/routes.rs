//! The routes that a process calls.

use std::error::Error as _;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::LengthLimitError;
use uuid::Uuid;

use super::offers::{Answer, Init, Offer, Shared, epoch_ms};
use crate::invoke_error::{ErrorReport, InvokeError};

/// The largest response and event of a synchronous invocation, in bytes, as Lambda's own error
/// message states it.
pub(super) const PAYLOAD_BYTES_MAX: usize = 6 * 1024 * 1024 + 100;

/// The largest error report that is read, in bytes. It is a message and a stack trace.
const ERROR_BYTES_MAX: usize = 256 * 1024;

/// The Runtime API of the process that shares this.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{request_id}/response", post(response))
        .route("/2018-06-01/runtime/invocation/{request_id}/error", post(error))
        .route("/2018-06-01/runtime/init/error", post(init_error))
        .with_state(shared)
}

/// Held open until there is work: `lambda_runtime` does not know 204.
async fn next(State(shared): State<Arc<Shared>>) -> Response {
    if shared.is_working() {
        return refusal(
            StatusCode::FORBIDDEN,
            "InvalidStateTransition",
            "the previous invocation has no response yet",
        );
    }
    shared.init.send_if_modified(|init| match init {
        Init::Pending => {
            *init = Init::Ready;
            true
        }
        Init::Ready | Init::Failed(_) => false,
    });
    let Some(offer) = next_offer(&shared).await else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "Closed", "the function is stopping");
    };
    let headers = [
        (CONTENT_TYPE.as_str(), "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", offer.request_id.clone()),
        ("lambda-runtime-deadline-ms", offer.deadline_ms.to_string()),
        ("lambda-runtime-invoked-function-arn", shared.function_arn.clone()),
        ("lambda-runtime-trace-id", trace_id()),
    ];
    shared.set_open(offer.request_id, offer.answer);
    (headers, offer.payload).into_response()
}

/// The next offer whose caller still waits; `None` when the API is dropped.
async fn next_offer(shared: &Shared) -> Option<Offer> {
    let mut offered = shared.offered.lock().await;
    loop {
        match offered.recv().await {
            Some(offer) if offer.answer.is_closed() => {}
            offer => return offer,
        }
    }
}

async fn response(
    State(shared): State<Arc<Shared>>,
    Path(request_id): Path<String>,
    body: Body,
) -> Response {
    let Some(answer) = shared.take_open(&request_id) else {
        return unknown_request();
    };
    match to_bytes(body, PAYLOAD_BYTES_MAX).await {
        Ok(bytes) => settle(answer, Ok(bytes)),
        Err(error) if is_over_limit(&error) => {
            let message = format!("the response is larger than {PAYLOAD_BYTES_MAX} bytes");
            let report = ErrorReport {
                error_type: "Function.ResponseSizeTooLarge".to_owned(),
                message: message.clone(),
            };
            settle(answer, Err(InvokeError::FunctionError(report)));
            refusal(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message)
        }
        // The connection broke; dropping the answer fails the invocation.
        Err(_) => refusal(StatusCode::BAD_REQUEST, "InvalidRequest", "the response was cut off"),
    }
}

fn is_over_limit(error: &axum::Error) -> bool {
    error.source().is_some_and(|source| source.is::<LengthLimitError>())
}

async fn error(
    State(shared): State<Arc<Shared>>,
    Path(request_id): Path<String>,
    body: Body,
) -> Response {
    let Some(answer) = shared.take_open(&request_id) else {
        return unknown_request();
    };
    let report = read_report(body).await;
    settle(answer, Err(InvokeError::FunctionError(report)))
}

async fn init_error(State(shared): State<Arc<Shared>>, body: Body) -> Response {
    let report = read_report(body).await;
    shared.init.send_if_modified(|init| match init {
        Init::Pending => {
            *init = Init::Failed(report);
            true
        }
        Init::Ready | Init::Failed(_) => false,
    });
    accepted()
}

async fn read_report(body: Body) -> ErrorReport {
    ErrorReport::read(&to_bytes(body, ERROR_BYTES_MAX).await.unwrap_or_default())
}

fn settle(answer: Answer, outcome: Result<Bytes, InvokeError>) -> Response {
    match answer.send(outcome) {
        Ok(()) => accepted(),
        Err(_) => unknown_request(),
    }
}

fn accepted() -> Response {
    let headers = [(CONTENT_TYPE, "application/json")];
    (StatusCode::ACCEPTED, headers, r#"{"status":"OK"}"#).into_response()
}

fn unknown_request() -> Response {
    refusal(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID")
}

fn refusal(status: StatusCode, error_type: &str, message: &str) -> Response {
    let body = serde_json::json!({ "errorType": error_type, "errorMessage": message });
    (status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// A trace of its own for every invocation, in X-Ray's form, not sampled.
fn trace_id() -> String {
    let seconds = epoch_ms(SystemTime::now()) / 1000;
    let random = Uuid::new_v4().simple().to_string();
    let parent = Uuid::new_v4().simple().to_string();
    format!("Root=1-{seconds:08x}-{};Parent={};Sampled=0", &random[..24], &parent[..16])
}
