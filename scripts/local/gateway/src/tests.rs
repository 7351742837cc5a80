//! The gateway as its clients and the queue see it: promises' table of bad input, the queue's
//! failures, and documents that it must not serve. Here stands the language of these tests.

mod bodies;
mod documents;
mod functions;
mod over_tcp;
mod requests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::request::Builder;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;
use url::form_urlencoded;

use crate::gateway::{Gateway, Options};
use crate::proxy::{Functions, Invoke, NoAnswer};
use crate::tokens::{EXPIRES_IN, Issuer, SCOPES};

const USER: &str = "0b5f8f3e-52a7-4b83-8f2d-b1f5ad7a9c10";
const MESSAGE_ID: &str = "5fea7756-0ea4-451a-a703-a558b933e274";
const ORIGIN: &str = "https://example.com";
const QUERY_ARN: &str = "arn:aws:lambda:eu-west-2:000000000000:function:query-payments:live";

/// The document as the pipeline renders it.
fn document() -> String {
    let values = [
        ("partition", "aws"),
        ("region", "eu-west-2"),
        ("account_id", "000000000000"),
        ("queue_name", "submit-payment-queue"),
        ("gateway_role_arn", "arn:aws:iam::000000000000:role/gateway"),
        ("user_pool_arn", "arn:aws:cognito-idp:eu-west-2:000000000000:userpool/local"),
        ("query_payments_arn", QUERY_ARN),
        ("allowed_origin", ORIGIN),
    ];
    schema::document::render(schema::document::TEXT, &values).expect("every placeholder is given")
}

fn issuer() -> &'static Issuer {
    static ISSUER: OnceLock<(TempDir, Issuer)> = OnceLock::new();
    let make = || {
        let directory = tempfile::tempdir().expect("a directory");
        let issuer = Issuer::open(directory.path()).expect("an issuer");
        (directory, issuer)
    };
    &ISSUER.get_or_init(make).1
}

fn token(scopes: &str) -> String {
    issuer().issue(USER, scopes, EXPIRES_IN).expect("a token")
}

/// What a queue answers in place of SQS.
#[derive(Clone)]
enum Answer {
    Sends(u16, Vec<u8>),
    Never,
}

/// Functions of which one answers as it is told and remembers its events.
fn functions(
    answer: impl Fn() -> Result<Bytes, NoAnswer> + Send + Sync + 'static,
) -> (Functions, Arc<Mutex<Vec<Value>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let received = Arc::clone(&events);
    let invoke: Invoke = Arc::new(move |event| {
        let event = serde_json::from_slice(&event).expect("an event is JSON");
        received.lock().expect("no panic").push(event);
        let answer = answer();
        Box::pin(async move { answer })
    });
    ([(QUERY_ARN.to_owned(), invoke)].into(), events)
}

/// Functions of which none is asked.
fn no_functions() -> Functions {
    functions(|| Err(NoAnswer::Throttled)).0
}

/// A gateway before a queue that answers as it is told and remembers the forms it got.
struct Stack {
    router: Router,
    sent: Arc<Mutex<Vec<BTreeMap<String, String>>>>,
}

impl Stack {
    fn new() -> Self {
        let answer = json!({ "SendMessageResponse": { "SendMessageResult": {
            "MessageId": MESSAGE_ID, "MD5OfMessageBody": "md5" } } });
        Self::with(Answer::Sends(200, answer.to_string().into()), &document(), Options::default())
    }

    fn with(answer: Answer, document: &str, options: Options) -> Self {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let received = Arc::clone(&sent);
        let queue = Router::new().fallback(async move |request: Request<Body>| {
            assert_eq!(request.uri(), "/000000000000/submit-payment-queue");
            assert_eq!(request.method(), Method::POST);
            assert_eq!(request.headers()["accept"], "application/json");
            let form = request.into_body().collect().await.expect("a form").to_bytes();
            let form = form_urlencoded::parse(&form).into_owned().collect();
            received.lock().expect("no panic").push(form);
            match answer {
                Answer::Sends(status, body) => {
                    (StatusCode::from_u16(status).expect("a status"), body)
                }
                Answer::Never => std::future::pending().await,
            }
        });
        let verifier = issuer().verifier();
        let gateway = Gateway::new(document, verifier, queue, &no_functions(), options);
        let gateway = gateway.expect("the document");
        Self { router: gateway.router(), sent }
    }

    /// Sends a request and checks what holds for every answer.
    async fn send(&self, request: Request<Body>) -> (u16, Value, HeaderMap) {
        let Ok(response) = self.router.clone().oneshot(request).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        assert_eq!(parts.headers["access-control-allow-origin"], ORIGIN);
        assert!(parts.headers.contains_key("x-amzn-requestid"));
        let status = parts.status.as_u16();
        if body.is_empty() {
            return (status, Value::Null, parts.headers);
        }
        assert_eq!(parts.headers["content-type"], "application/json");
        let body: Value = serde_json::from_slice(&body).expect("every answer is JSON");
        assert_eq!(body["requestId"], parts.headers["x-amz-apigw-id"].to_str().expect("text"));
        let keys: Vec<_> = body.as_object().expect("an object").keys().collect();
        if status == 200 {
            assert_eq!(keys, ["bodyMd5", "messageId", "requestId", "status"]);
        } else {
            assert_eq!(keys, ["code", "message", "requestId"]);
        }
        let message = body["message"].as_str().unwrap_or_default();
        assert!(status < 500 || message.starts_with("It is not known whether"), "{message}");
        let retry = [429, 500, 503, 504].contains(&status);
        assert!(
            !retry || body["code"] == "internal_error" || parts.headers.contains_key("retry-after")
        );
        (status, body, parts.headers)
    }

    async fn submit(&self, body: impl Into<Body>) -> (u16, Value, HeaderMap) {
        self.send(put().body(body.into()).expect("a request")).await
    }

    fn take_sent(&self) -> Vec<BTreeMap<String, String>> {
        std::mem::take(&mut self.sent.lock().expect("no panic"))
    }
}

fn put() -> Builder {
    Request::put("/submit").header("authorization", format!("Bearer {}", token(SCOPES)))
}

fn payment() -> Value {
    json!({
        "paymentId": "7d4df5ae-3f6b-4c27-9d0e-5b6c1c1f0a41",
        "userId": USER,
        "amount": "10.50",
        "currency": "GBP",
        "description": "Invoice",
    })
}

/// A payment in which one property has a value of its own, as JSON.
fn with(property: &str, value: &str) -> String {
    let mut payment = payment();
    payment[property] = json!("PLACE");
    payment.to_string().replace("\"PLACE\"", value)
}

/// Asks a gateway whose function answers so; the status, the whole answer, and the event.
async fn asked(
    request: Builder,
    answer: impl Fn() -> Result<Bytes, NoAnswer> + Send + Sync + 'static,
) -> (u16, HeaderMap, String, Option<Value>) {
    let (functions, events) = functions(answer);
    let (verifier, options) = (issuer().verifier(), Options::default());
    let gateway = Gateway::new(&document(), verifier, Router::new(), &functions, options);
    let request = request.body(Body::empty()).expect("a request");
    let Ok(response) = gateway.expect("the document").router().oneshot(request).await;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let event = events.lock().expect("no panic").pop();
    (parts.status.as_u16(), parts.headers, String::from_utf8_lossy(&body).into_owned(), event)
}

fn get(uri: &str) -> Builder {
    Request::get(uri).header("authorization", token(SCOPES))
}
