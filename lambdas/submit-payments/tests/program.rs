//! The deployed program itself, between a Runtime API, a DynamoDB and an SQS that keep what they are asked.

#![expect(clippy::unwrap_used, reason = "a test may stop at whatever it does not expect")]

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

const BODY: &str = include_str!("../../../tests/fixtures/payment-minimal-v1.json");
const USER: &str = "5f2c8d34-1b7e-4e0a-8c55-90d1e2f3a4b5";

/// Marks an operation that came past the SDK.
const PAST_SDK: &str = "past the SDK: ";

/// Stands for a connection made ahead.
const CONNECTION: &str = "connection";

/// Far more than a batch takes; a machine may be slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// AWS, as far as one batch needs it.
struct Aws {
    event: Mutex<Option<Value>>,
    /// What DynamoDB and SQS were asked: the operation, marked when it came past the SDK, and its input.
    asked: Mutex<Vec<(String, Value)>>,
    responses: mpsc::Sender<Value>,
}

async fn answer(State(aws): State<Arc<Aws>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    if let Some(target) = head.headers.get("x-amz-target") {
        let past_sdk = if head.headers.contains_key("amz-sdk-request") { "" } else { PAST_SDK };
        return aws.service(&format!("{past_sdk}{}", target.to_str().unwrap()), &body);
    }
    match (head.method, head.uri.path().rsplit('/').next().unwrap()) {
        // A connection made ahead.
        (Method::GET, "") => {
            aws.asked.lock().unwrap().push((CONNECTION.to_owned(), Value::Null));
            "healthy".into_response()
        }
        (Method::GET, "next") => aws.next().await,
        (Method::POST, "response") => {
            aws.responses.send(serde_json::from_slice(&body).unwrap()).await.unwrap();
            axum::http::StatusCode::ACCEPTED.into_response()
        }
        (method, path) => panic!("{method} {path} {body:?}"),
    }
}

impl Aws {
    async fn next(&self) -> Response {
        let Some(event) = self.event.lock().unwrap().take() else {
            return std::future::pending().await;
        };
        let mut headers = HeaderMap::new();
        headers.insert("lambda-runtime-aws-request-id", "invocation".parse().unwrap());
        headers.insert("lambda-runtime-deadline-ms", "9999999999999".parse().unwrap());
        headers.insert("lambda-runtime-invoked-function-arn", "arn:aws:x".parse().unwrap());
        headers.insert("lambda-runtime-trace-id", "Root=1-x".parse().unwrap());
        (headers, event.to_string()).into_response()
    }

    /// The table of payments has disappeared; everything else works.
    fn service(&self, target: &str, input: &Bytes) -> Response {
        let input: Value = serde_json::from_slice(input).unwrap();
        let gone = input["TableName"] == "Payments";
        self.asked.lock().unwrap().push((target.to_owned(), input));
        if gone {
            let error =
                json!({ "__type": "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException" });
            return (axum::http::StatusCode::BAD_REQUEST, error.to_string()).into_response();
        }
        json!({ "MessageId": "dead" }).to_string().into_response()
    }

    /// The inputs of one operation.
    fn asked(&self, operation: &str) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        let of = asked.iter().filter(|(target, _)| target.ends_with(operation));
        of.map(|(_, input)| input.clone()).collect()
    }
}

fn record(id: &str, body: &str, attributes: Value) -> Value {
    json!({
        "messageId": id,
        "receiptHandle": format!("handle of {id}"),
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1790000000000",
            "AWSTraceHeader": "Root=1-trace",
            "MessageGroupId": "group-1",
        },
        "messageAttributes": attributes,
    })
}

fn text(value: &str) -> Value {
    json!({ "dataType": "String", "stringValue": value })
}

/// One record that has to wait, one that is refused, one that dies again.
fn event() -> Value {
    let dead_letter = json!({
        "reason": "throttled", "detail": "", "originalMessageId": "first", "receiveCount": 5,
        "functionVersion": "1", "at": "2026-11-20T00:00:00.000Z", "redriveCount": 1,
    });
    let kept = json!({ "dataType": "Binary", "binaryValue": "AAE=" });
    json!({ "Records": [
        record("stays", BODY, json!({ "sub": text(USER), "requestId": text("r-1") })),
        record("refused", "[]", json!({ "sub": text(USER), "requestId": text("r-2") })),
        record("dead", "who?", json!({ "deadLetter": text(&dead_letter.to_string()), "kept": kept })),
    ]})
}

/// The program, with all of AWS at one address.
fn program(address: &str) -> Child {
    let url = format!("http://{address}");
    Command::new(env!("CARGO_BIN_EXE_submit-payments"))
        .env_clear()
        .envs([
            ("AWS_LAMBDA_RUNTIME_API", address),
            ("AWS_LAMBDA_FUNCTION_NAME", "submit-payments"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "7"),
            ("AWS_REGION", "eu-west-2"),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_ENDPOINT_URL_DYNAMODB", &url),
            ("AWS_ENDPOINT_URL_SQS", &url),
            ("REMIT_PAYMENTS_TABLE", "Payments"),
            ("REMIT_REFUSALS_TABLE", "Refusals"),
            ("REMIT_QUEUE_URL", "https://sqs/main"),
            ("REMIT_DEAD_LETTER_QUEUE_URL", "https://sqs/dead"),
            ("REMIT_RECEIVE_COUNT_MAX", "5"),
            ("REMIT_RETRY_DELAY_SECONDS", "30"),
            ("REMIT_CONCURRENCY", "8"),
            ("REMIT_DEADLINE_MARGIN_MS", "3000"),
        ])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// A line for each record, and one with the metrics.
fn check_output(output: &[u8]) {
    let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines: Vec<Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    for (id, outcome, level) in
        [("stays", "retry", "WARN"), ("refused", "refused", "INFO"), ("dead", "dead", "ERROR")]
    {
        let of = |line: &&Value| line["messageId"] == id && line["outcome"] == outcome;
        let line = lines.iter().find(of).unwrap_or_else(|| panic!("{id}: {lines:?}"));
        assert_eq!(line["level"], level);
    }
    let metrics = lines.iter().find(|line| line["_aws"].is_object()).unwrap();
    assert_eq!(metrics["FunctionName"], "submit-payments");
    assert_eq!(
        (&metrics["Retried"], &metrics["Refused"], &metrics["DeadLettered"]),
        (&json!(1), &json!(1), &json!(1))
    );
}

#[tokio::test]
async fn a_batch_has_its_effects_its_response_its_logs_and_its_metrics() {
    let (sender, mut responses) = mpsc::channel(1);
    let aws = Arc::new(Aws {
        event: Mutex::new(Some(event())),
        asked: Mutex::default(),
        responses: sender,
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = Router::new().fallback(answer).with_state(Arc::clone(&aws));
    tokio::spawn(axum::serve(listener, router).into_future());

    let mut program = program(&address);
    let response = tokio::select! {
        response = responses.recv() => response.unwrap(),
        ended = program.wait() => panic!("it ended: {ended:?}"),
        () = tokio::time::sleep(PATIENCE) => panic!("it gave no answer within {PATIENCE:?}"),
    };
    program.kill().await.unwrap();
    let output = program.wait_with_output().await.unwrap().stdout;

    assert_eq!(response, json!({ "batchItemFailures": [{ "itemIdentifier": "stays" }] }));

    assert_eq!(aws.asked.lock().unwrap()[0].0, CONNECTION, "before the first event");
    // The SDK makes no put again whose first answer leaves no hope.
    let [first] = aws.asked(&format!("{PAST_SDK}DynamoDB_20120810.PutItem")).try_into().unwrap();
    assert_eq!(first["TableName"], "Payments");
    let puts = aws.asked("DynamoDB_20120810.PutItem");
    assert_eq!(puts.iter().filter(|put| put["TableName"] == "Payments").count(), 1);
    let tables: Vec<_> = puts.iter().map(|put| put["TableName"].as_str().unwrap()).collect();
    assert!(tables.contains(&"Payments") && tables.contains(&"Refusals"), "{tables:?}");
    let [postponed] = aws.asked("AmazonSQS.ChangeMessageVisibility").try_into().unwrap();
    assert_eq!(postponed["QueueUrl"], "https://sqs/main");
    assert_eq!(postponed["ReceiptHandle"], "handle of stays");
    let delay = postponed["VisibilityTimeout"].as_u64().unwrap();
    assert!((24..=30).contains(&delay), "{delay}");
    let [letter] = aws.asked("AmazonSQS.SendMessage").try_into().unwrap();
    assert_eq!(letter["QueueUrl"], "https://sqs/dead");
    assert_eq!(letter["MessageBody"], "who?");
    let trace = &letter["MessageSystemAttributes"]["AWSTraceHeader"]["StringValue"];
    assert_eq!(trace, "Root=1-trace");
    assert_eq!(letter["MessageGroupId"], "group-1");
    let attributes = letter["MessageAttributes"].as_object().unwrap();
    assert_eq!(attributes.len(), 2, "{attributes:?}");
    assert_eq!(attributes["kept"], json!({ "DataType": "Binary", "BinaryValue": "AAE=" }));
    let reason = attributes["deadLetter"]["StringValue"].as_str().unwrap();
    let reason: Value = serde_json::from_str(reason).unwrap();
    assert_eq!(
        (&reason["reason"], &reason["functionVersion"], &reason["redriveCount"]),
        (&json!("unverified"), &json!("7"), &json!(1))
    );
    assert_eq!(reason["originalMessageId"], "first");

    check_output(&output);
}
