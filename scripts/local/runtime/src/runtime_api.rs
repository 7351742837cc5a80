//! The Lambda Runtime API for one child process.
//!
//! Every process gets a listener of its own, so that it is always known whose invocation died, and
//! a late answer of a killed process can never reach its successor.

use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use http_body_util::LengthLimitError;
use serde::Deserialize;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use uuid::Uuid;

/// The largest response and event of a synchronous invocation, in bytes, as Lambda's own error
/// message states it.
pub const PAYLOAD_BYTES_MAX: usize = 6 * 1024 * 1024 + 100;

/// The largest error report that is read, in bytes. It is a message and a stack trace.
const ERROR_BYTES_MAX: usize = 256 * 1024;

/// Why an invocation gave no response. None of them says whether the function's work was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// The function ran and reported an error; its process goes on.
    #[error("the function reported {0}")]
    FunctionError(ErrorReport),
    /// The function did not answer in time; its process is killed, as Lambda does.
    #[error("the function did not answer within {} ms", after.as_millis())]
    TimedOut {
        /// The time it was given.
        after: Duration,
    },
    /// The process ended before it answered.
    #[error("the function's process ended before it answered")]
    Exited,
    /// The process reported that it cannot start.
    #[error("the function failed to start: {0}")]
    InitFailed(ErrorReport),
    /// No process became free in time, or the function is being stopped; nothing was invoked.
    #[error("no process of the function became free in time")]
    Unavailable,
}

/// An error as a function reports it to the Runtime API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{error_type}: {message}")]
pub struct ErrorReport {
    /// The kind of error, a name of the function's choice.
    #[serde(rename = "errorType", default)]
    pub error_type: String,
    /// What the function says about it.
    #[serde(rename = "errorMessage", default)]
    pub message: String,
}

impl ErrorReport {
    fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_else(|_| Self {
            error_type: "Runtime.Unknown".to_owned(),
            message: "the error report is not the JSON object it should be".to_owned(),
        })
    }
}

/// The Runtime API of one process, served until it is dropped.
#[derive(Debug)]
pub struct RuntimeApi {
    address: SocketAddr,
    offers: mpsc::Sender<Offer>,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl RuntimeApi {
    /// Serves on a free port of 127.0.0.1 for the function of this ARN.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn start(function_arn: String) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        // Small answers on a kept-alive connection would otherwise wait for an acknowledgement.
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot disable Nagle's algorithm");
            }
        });
        let (offers, offered) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            function_arn,
            offered: tokio::sync::Mutex::new(offered),
            open: Mutex::new(None),
            init: watch::Sender::new(Init::Pending),
        });
        let routes = router(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%error, "the Runtime API stopped");
            }
        });
        Ok(Self { address, offers, shared, server })
    }

    /// Where it listens: the value of `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the process asks for its first invocation.
    ///
    /// # Errors
    /// What the process reported, when it reported that it cannot start.
    pub async fn initialised(&self) -> Result<(), ErrorReport> {
        let mut init = self.shared.init.subscribe();
        let decided = init.wait_for(|init| !matches!(init, Init::Pending)).await;
        match decided.as_deref() {
            Ok(Init::Failed(report)) => Err(report.clone()),
            // The sender lives in `self`, so the channel is never closed here.
            Ok(Init::Ready | Init::Pending) | Err(_) => Ok(()),
        }
    }

    /// Gives the process one event and waits for its response. One invocation at a time: the
    /// caller sends the next one after this returned.
    ///
    /// # Errors
    /// [`InvokeError`]; after `TimedOut` the process may still be at work and has to be killed.
    pub async fn invoke(&self, payload: Bytes, timeout: Duration) -> Result<Bytes, InvokeError> {
        let request_id = Uuid::new_v4().to_string();
        let (answer, answered) = oneshot::channel();
        let offer = Offer {
            request_id: request_id.clone(),
            deadline_ms: epoch_ms(SystemTime::now() + timeout),
            payload,
            answer,
        };
        if self.offers.send(offer).await.is_err() {
            return Err(InvokeError::Exited);
        }
        tokio::select! {
            biased;
            answer = answered => answer.unwrap_or(Err(InvokeError::Exited)),
            report = self.init_failed() => Err(InvokeError::InitFailed(report)),
            () = tokio::time::sleep(timeout) => {
                drop(self.shared.take_open(&request_id));
                Err(InvokeError::TimedOut { after: timeout })
            }
        }
    }

    /// Resolves only when the process reports that it cannot start.
    async fn init_failed(&self) -> ErrorReport {
        match self.initialised().await {
            Ok(()) => std::future::pending().await,
            Err(report) => report,
        }
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An invocation on its way to the process.
#[derive(Debug)]
struct Offer {
    request_id: String,
    deadline_ms: u128,
    payload: Bytes,
    answer: Answer,
}

type Answer = oneshot::Sender<Result<Bytes, InvokeError>>;

#[derive(Debug)]
struct Shared {
    function_arn: String,
    offered: tokio::sync::Mutex<mpsc::Receiver<Offer>>,
    /// The invocation the process is working on.
    open: Mutex<Option<(String, Answer)>>,
    init: watch::Sender<Init>,
}

#[derive(Debug)]
enum Init {
    /// The process has started and has not asked for work yet.
    Pending,
    /// The process asked for work.
    Ready,
    /// The process said that it cannot start.
    Failed(ErrorReport),
}

impl Shared {
    fn take_open(&self, request_id: &str) -> Option<Answer> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.take_if(|(id, _)| id == request_id).map(|(_, answer)| answer)
    }

    fn set_open(&self, request_id: String, answer: Answer) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some((request_id, answer));
    }

    fn is_working(&self) -> bool {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

fn router(shared: Arc<Shared>) -> Router {
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

fn epoch_ms(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

/// A trace of its own for every invocation, in X-Ray's form, not sampled.
fn trace_id() -> String {
    let seconds = epoch_ms(SystemTime::now()) / 1000;
    let random = Uuid::new_v4().simple().to_string();
    let parent = Uuid::new_v4().simple().to_string();
    format!("Root=1-{seconds:08x}-{};Parent={};Sampled=0", &random[..24], &parent[..16])
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);
    const NEXT: &str = "GET /2018-06-01/runtime/invocation/next";

    struct Answered {
        status: u16,
        head: String,
        body: String,
    }

    impl Answered {
        fn header(&self, name: &str) -> String {
            let line = self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            line.unwrap_or_else(|| panic!("no {name} in {}", self.head)).to_owned()
        }
    }

    /// A fake process: one raw HTTP request on a connection of its own.
    async fn call(api: &RuntimeApi, request: &str, body: &str) -> Answered {
        let mut stream = TcpStream::connect(api.address()).await.unwrap();
        let length = body.len();
        let head = format!(
            "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // A refused body may be cut off before it is written.
        let _ = stream.write_all(body.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answered { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn post(id: &str, what: &str) -> String {
        format!("POST /2018-06-01/runtime/invocation/{id}/{what}")
    }

    async fn api() -> Arc<RuntimeApi> {
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:f".to_owned();
        Arc::new(RuntimeApi::start(arn).await.unwrap())
    }

    fn invoke(api: &Arc<RuntimeApi>, timeout: Duration) -> JoinHandle<Result<Bytes, InvokeError>> {
        let api = Arc::clone(api);
        tokio::spawn(async move { api.invoke(Bytes::from_static(b"{\"n\":1}"), timeout).await })
    }

    #[tokio::test]
    async fn event_goes_out_with_its_headers_and_the_response_comes_back() {
        let api = api().await;
        let caller = invoke(&api, TIMEOUT);
        let event = call(&api, NEXT, "").await;
        assert_eq!((event.status, event.body.as_str()), (200, "{\"n\":1}"));
        let arn = event.header("lambda-runtime-invoked-function-arn");
        assert!(arn.ends_with(":function:f"));
        assert!(event.header("lambda-runtime-trace-id").starts_with("Root=1-"));
        let deadline: u128 = event.header("lambda-runtime-deadline-ms").parse().unwrap();
        let now = epoch_ms(SystemTime::now());
        assert!(deadline > now && deadline <= now + TIMEOUT.as_millis());

        let id = event.header("lambda-runtime-aws-request-id");
        let accepted = call(&api, &post(&id, "response"), "null").await;
        assert_eq!(accepted.status, 202);
        assert_eq!(caller.await.unwrap(), Ok(Bytes::from_static(b"null")));
    }

    #[tokio::test]
    async fn reported_error_comes_back_typed() {
        let api = api().await;
        let caller = invoke(&api, TIMEOUT);
        let id = call(&api, NEXT, "").await.header("lambda-runtime-aws-request-id");
        let report = r#"{"errorType":"Panic","errorMessage":"oh","stackTrace":[]}"#;
        assert_eq!(call(&api, &post(&id, "error"), report).await.status, 202);
        let report = ErrorReport { error_type: "Panic".to_owned(), message: "oh".to_owned() };
        assert_eq!(caller.await.unwrap(), Err(InvokeError::FunctionError(report)));
    }

    #[tokio::test]
    async fn answer_to_an_unknown_or_expired_invocation_is_400() {
        let api = api().await;
        assert_eq!(call(&api, &post("never", "response"), "1").await.status, 400);
        assert_eq!(call(&api, &post("never", "error"), "{}").await.status, 400);

        let after = Duration::from_millis(20);
        let caller = invoke(&api, after);
        let id = call(&api, NEXT, "").await.header("lambda-runtime-aws-request-id");
        assert_eq!(caller.await.unwrap(), Err(InvokeError::TimedOut { after }));
        let late = call(&api, &post(&id, "response"), "1").await;
        assert_eq!(late.status, 400);
        assert!(late.body.contains("InvalidRequestID"));
    }

    #[tokio::test]
    async fn response_over_the_limit_fails_the_invocation() {
        for (bytes, status) in [(PAYLOAD_BYTES_MAX, 202), (PAYLOAD_BYTES_MAX + 1, 413)] {
            let api = api().await;
            let caller = invoke(&api, TIMEOUT);
            let id = call(&api, NEXT, "").await.header("lambda-runtime-aws-request-id");
            let answered = call(&api, &post(&id, "response"), &"1".repeat(bytes)).await;
            assert_eq!(answered.status, status);
            assert_eq!(caller.await.unwrap().is_ok(), status == 202);
        }
    }

    #[tokio::test]
    async fn init_error_fails_the_waiting_invocation() {
        let api = api().await;
        let caller = invoke(&api, TIMEOUT);
        let report = r#"{"errorType":"NoQueue","errorMessage":"QUEUE_URL is not set"}"#;
        let path = "POST /2018-06-01/runtime/init/error";
        assert_eq!(call(&api, path, report).await.status, 202);
        let report = ErrorReport {
            error_type: "NoQueue".to_owned(),
            message: "QUEUE_URL is not set".to_owned(),
        };
        assert_eq!(api.initialised().await, Err(report.clone()));
        assert_eq!(caller.await.unwrap(), Err(InvokeError::InitFailed(report)));
    }

    #[tokio::test]
    async fn next_without_an_answer_to_the_previous_one_is_refused() {
        let api = api().await;
        let _caller = invoke(&api, TIMEOUT);
        assert_eq!(call(&api, NEXT, "").await.status, 200);
        assert_eq!(call(&api, NEXT, "").await.status, 403);
    }
}
