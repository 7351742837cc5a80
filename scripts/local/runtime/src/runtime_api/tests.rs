use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::routes::PAYLOAD_BYTES_MAX;
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
