//! The first attempt of a put, past the SDK: what it asks, and that everything but a whole answer of success
//! comes out as if the SDK had made it. A connector stands in for the network, everything above it is real.

#![expect(clippy::unwrap_used, reason = "a test may stop at whatever it does not expect")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryPartition;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::connection::{CaptureSmithyConnection, ConnectionMetadata};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::{Response, StatusCode};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use hmac::{Hmac, KeyInit, Mac};
use schema::payment::Payment;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tables::direct::Direct;
use tables::{Failure, PaymentsTable, Put, Submission};

const BODY: &str = include_str!("../../../tests/fixtures/payment-from-newer-gateway.json");
const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const REGION: &str = "eu-west-2";

/// What the network does with a request.
#[derive(Debug, Clone)]
enum Network {
    Answers(u16, String),
    Cuts,
    Swallows,
}

/// Keeps the requests, and does one thing after the other, the last one again and again.
#[derive(Debug, Clone, Default)]
struct Script {
    asked: Arc<Mutex<Vec<HttpRequest>>>,
    does: Arc<Mutex<VecDeque<Network>>>,
    closed: Arc<AtomicU64>,
}

impl HttpConnector for Script {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if let Some(asked) = request.extension::<CaptureSmithyConnection>() {
            let closed = Arc::clone(&self.closed);
            let close = move || {
                closed.fetch_add(1, Ordering::Relaxed);
            };
            let connection = ConnectionMetadata::builder().proxied(false).poison_fn(close).build();
            asked.set_connection_retriever(move || Some(connection.clone()));
        }
        self.asked.lock().unwrap().push(request);
        let mut does = self.does.lock().unwrap();
        let next = if does.len() > 1 { does.pop_front() } else { does.front().cloned() };
        match next.unwrap() {
            Network::Answers(status, body) => {
                let status = StatusCode::try_from(status).unwrap();
                HttpConnectorFuture::ready(Ok(Response::new(status, SdkBody::from(body))))
            }
            Network::Cuts => {
                HttpConnectorFuture::ready(Err(ConnectorError::io("connection reset".into())))
            }
            Network::Swallows => HttpConnectorFuture::new(std::future::pending()),
        }
    }
}

impl Script {
    fn of(does: impl IntoIterator<Item = Network>) -> Script {
        Script { does: Arc::new(Mutex::new(does.into_iter().collect())), ..Script::default() }
    }

    fn inputs(&self) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        let body = |request: &HttpRequest| serde_json::from_slice(request.body().bytes().unwrap());
        asked.iter().map(|request| body(request).unwrap()).collect()
    }

    async fn direct(&self, endpoint: Option<&str>) -> Direct {
        let credentials = Credentials::from_keys(KEY, SECRET, Some("token".to_owned()));
        let connector = SharedHttpConnector::new(self.clone());
        let endpoint = endpoint.map(str::to_owned);
        Direct::new(connector, (credentials, REGION.to_owned()), endpoint).await.unwrap()
    }

    /// The tables as a function reaches them, without a way past the SDK.
    fn through_the_sdk(&self, clock: &Clock) -> PaymentsTable {
        let connector = self.clone();
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(2));
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(REGION))
            .credentials_provider(Credentials::from_keys(KEY, SECRET, Some("token".to_owned())))
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            // A quota that no other case shares.
            .retry_partition(RetryPartition::custom("case").build())
            .timeout_config(timeouts.build())
            .time_source(clock.clone())
            .http_client(http_client_fn(move |_, _| SharedHttpConnector::new(connector.clone())))
            .build();
        let client = Client::from_conf(config);
        PaymentsTable::new(client, "Payments".to_owned(), "Refusals".to_owned())
    }

    async fn past_the_sdk(&self, clock: &Clock) -> PaymentsTable {
        self.through_the_sdk(clock).with_direct(self.direct(None).await)
    }

    async fn put(&self) -> Result<Put, Failure> {
        put(&self.past_the_sdk(&Clock::default()).await).await
    }
}

/// A clock that only a test moves, in seconds.
#[derive(Debug, Clone)]
struct Clock(Arc<AtomicU64>);

impl Default for Clock {
    fn default() -> Clock {
        Clock(Arc::new(AtomicU64::new(1_790_000_000)))
    }
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

async fn put(table: &PaymentsTable) -> Result<Put, Failure> {
    let submission = Submission {
        request_id: "r-1".to_owned(),
        message_id: "m-1".to_owned(),
        accepted_at_ms: 0,
        body_md5: String::new(),
        schema_version: 1,
    };
    table.put_payment(&Payment::parse(BODY, 0).unwrap(), &submission, 0).await
}

fn stored() -> Network {
    Network::Answers(200, "{}".to_owned())
}

fn condition_failed(item: &Value) -> Network {
    let error = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
    Network::Answers(400, json!({ "__type": error, "Item": item }).to_string())
}

#[tokio::test(start_paused = true)]
async fn a_put_that_succeeds_is_one_request_with_what_the_sdk_would_ask() {
    let once = Script::of([stored()]);
    assert_eq!(once.put().await, Ok(Put::Stored));
    assert_eq!(once.inputs().len(), 1);
    let twice = Script::of([Network::Cuts, stored()]);
    assert_eq!(twice.put().await, Ok(Put::Stored));
    let [direct, sdk] = <[Value; 2]>::try_from(twice.inputs()).unwrap();
    assert_eq!(direct, sdk);

    let asked = twice.asked.lock().unwrap();
    assert_eq!(asked[0].uri(), asked[1].uri());
    assert_eq!(asked[0].method(), asked[1].method());
    for name in ["content-type", "x-amz-target", "x-amz-security-token"] {
        assert_eq!(asked[0].headers().get(name), asked[1].headers().get(name), "{name}");
    }
}

fn error(status: u16, code: &str) -> Network {
    Network::Answers(status, json!({ "__type": format!("x#{code}"), "message": "" }).to_string())
}

/// Every fault comes out the same with and without the way past the SDK, after as many requests.
#[tokio::test(start_paused = true)]
async fn every_fault_comes_out_as_if_the_sdk_had_made_every_attempt() {
    let there = || condition_failed(&json!({ "_requestId": { "S": "r-0" }, "a": { "N": "1.5" } }));
    let throttled = || error(400, "ProvisionedThroughputExceededException");
    let broken = || error(500, "InternalServerError");
    let mut closed_connections = 0;
    for (does, requests) in [
        (vec![stored()], 1),
        (vec![there()], 1),
        (vec![condition_failed(&json!({}))], 1),
        (vec![condition_failed(&Value::Null)], 1),
        (vec![throttled()], 3),
        (vec![throttled(), stored()], 2),
        (vec![throttled(), there()], 2),
        (vec![throttled(), broken(), stored()], 3),
        (vec![error(400, "ThrottlingException")], 3),
        (vec![error(400, "RequestLimitExceeded"), there()], 2),
        (vec![error(400, "TransactionConflictException")], 1),
        (vec![error(400, "ReplicatedWriteConflictException")], 3),
        (vec![broken()], 3),
        (vec![broken(), there()], 2),
        (vec![error(503, "ServiceUnavailable"), stored()], 2),
        (vec![Network::Answers(502, "<html>".to_owned())], 3),
        (vec![Network::Answers(504, String::new()), stored()], 2),
        (vec![Network::Answers(501, String::new())], 1),
        (vec![Network::Answers(429, String::new())], 1),
        (vec![Network::Answers(400, String::new())], 1),
        (vec![Network::Answers(307, String::new())], 1),
        (vec![error(400, "AccessDeniedException")], 1),
        (vec![error(400, "ExpiredTokenException")], 1),
        (vec![error(400, "InvalidSignatureException")], 1),
        (vec![error(400, "ItemCollectionSizeLimitExceededException")], 1),
        (vec![error(400, "KMSThrottlingException")], 1),
        (vec![error(400, "ResourceNotFoundException")], 1),
        (vec![error(400, "SomethingNew")], 1),
        (vec![error(400, "ValidationException")], 1),
        (vec![Network::Cuts], 3),
        (vec![Network::Cuts, there()], 2),
        (vec![Network::Swallows], 3),
        (vec![Network::Swallows, Network::Cuts, stored()], 3),
    ] {
        let clock = Clock::default();
        let sdk = Script::of(does.clone());
        let expected = put(&sdk.through_the_sdk(&clock)).await;
        let direct = Script::of(does.clone());
        assert_eq!(put(&direct.past_the_sdk(&clock).await).await, expected, "{does:?}");
        assert_eq!((sdk.inputs().len(), direct.inputs().len()), (requests, requests), "{does:?}");
        let closed = |script: &Script| script.closed.load(Ordering::Relaxed);
        assert_eq!(closed(&direct), closed(&sdk), "connections closed after {does:?}");
        closed_connections += closed(&direct);
    }
    assert!(closed_connections > 0);
}

/// Stricter than the SDK, which takes an answer of success without a body for one.
#[tokio::test(start_paused = true)]
async fn half_an_answer_of_success_is_asked_again() {
    for (status, body) in [(200, ""), (200, "{"), (200, "[]"), (202, "{}"), (202, "")] {
        let script = Script::of([Network::Answers(status, body.to_owned()), stored()]);
        assert_eq!(script.put().await, Ok(Put::Stored), "{status} {body:?}");
        assert_eq!(script.inputs().len(), 2, "{status} {body:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_empties_the_quota_of_retries_and_time_fills_it() {
    let script = Script::of([error(503, "ServiceUnavailable")]);
    let clock = Clock::default();
    let table = script.past_the_sdk(&clock).await;
    let requests = async || {
        let before = script.inputs().len();
        assert!(put(&table).await.is_err());
        script.inputs().len() - before
    };
    assert_eq!(requests().await, 3);
    for _ in 0..100 {
        requests().await;
    }
    assert_eq!(requests().await, 1);
    clock.0.fetch_add(10, Ordering::Relaxed);
    assert_eq!(requests().await, 3);
}

/// The signature of a request, computed after "Create a signed AWS API request" (AWS IAM User Guide), and
/// the one that it bears.
fn signatures(request: &HttpRequest) -> (String, String) {
    let header = |name: &str| request.headers().get(name).unwrap_or_default().to_owned();
    let authorization = header("authorization");
    let parts: BTreeMap<&str, &str> = authorization
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .unwrap()
        .split(", ")
        .map(|part| part.split_once('=').unwrap())
        .collect();
    let host = request.uri().strip_prefix("https://").unwrap().trim_end_matches('/').to_owned();
    let signed: String = parts["SignedHeaders"]
        .split(';')
        .map(|name| {
            let value = if name == "host" { host.clone() } else { header(name) };
            format!("{name}:{value}\n")
        })
        .collect();
    let hash = |bytes: &[u8]| hex(&Sha256::digest(bytes));
    let body = hash(request.body().bytes().unwrap());
    let canonical = format!("POST\n/\n\n{signed}\n{}\n{body}", parts["SignedHeaders"]);
    let time = header("x-amz-date");
    let scope = format!("{}/{REGION}/dynamodb/aws4_request", &time[..8]);
    assert_eq!(parts["Credential"], format!("{KEY}/{scope}"));
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(canonical.as_bytes()));
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for part in scope.split('/') {
        key = mac(&key, part);
    }
    (hex(&mac(&key, &text)), parts["Signature"].to_owned())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(start_paused = true)]
async fn both_attempts_bear_the_signature_that_aws_computes() {
    let script = Script::of([Network::Cuts, stored()]);
    script.put().await.unwrap();
    for request in script.asked.lock().unwrap().iter() {
        let (computed, borne) = signatures(request);
        assert_eq!(computed, borne, "{:?}", request.headers().get("authorization"));
        assert!(request.headers().get("authorization").unwrap().contains("x-amz-target"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_made_ahead_and_its_failure_is_nothing() {
    for does in [Network::Answers(200, "healthy".to_owned()), Network::Cuts, Network::Swallows] {
        let script = Script::of([does]);
        script.direct(Some("http://127.0.0.1:8000")).await.warm_up().await;
        let asked = script.asked.lock().unwrap();
        assert_eq!((asked[0].method(), asked[0].uri()), ("GET", "http://127.0.0.1:8000/"));
        assert!(asked[0].headers().get("authorization").is_none());
    }
}

#[tokio::test]
async fn the_endpoint_is_the_regions_or_the_given_one() {
    for (endpoint, uri) in [
        (None, "https://dynamodb.eu-west-2.amazonaws.com/"),
        (Some("https://127.0.0.1:8443"), "https://127.0.0.1:8443/"),
    ] {
        let script = Script::of([Network::Cuts]);
        script.direct(endpoint).await.warm_up().await;
        assert_eq!(script.asked.lock().unwrap()[0].uri(), uri);
    }
}
