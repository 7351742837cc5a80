//! The gateway as its clients and the queue see it: promises' table of bad input, the queue's
//! failures, and documents that it must not serve.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use axum::http::request::Builder;
use schema::envelope::{SCHEMA_VERSION, attribute};
use serde_json::json;
use tempfile::TempDir;
use tower::ServiceExt as _;
use url::form_urlencoded;

use super::*;
use crate::functions::InvokeError;
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
    answer: impl Fn() -> Result<Bytes, InvokeError> + Send + Sync + 'static,
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
    functions(|| Err(InvokeError::Unavailable)).0
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

/// What is to become of a body.
enum Expected {
    /// Refused with 400 and exactly this message.
    Says(String),
    /// Refused with 400, and this is a part of the message.
    SaysAmongOthers(&'static str),
    /// Left to the function.
    Queued,
}
use Expected::{Queued, Says, SaysAmongOthers};

type BodyCases = Vec<(String, Expected)>;

fn not_json() -> Expected {
    Says("[Unknown error parsing request body]".to_owned())
}

fn wrong_type(found: &str, allowed: &str) -> Expected {
    Says(format!(
        "[instance type ({found}) does not match any allowed primitive type (allowed: \
         [\"{allowed}\"])]"
    ))
}

/// Not one JSON object.
fn malformed_bodies() -> BodyCases {
    let mut cases = BodyCases::new();
    for body in ["", " ", "{", "NaN", "{}{}", "{},", "\u{feff}{}", "nul", "'x'", "{\"a\":1,}"] {
        cases.push((body.to_owned(), not_json()));
    }
    for (body, found) in [
        ("null", "null"),
        ("[]", "array"),
        ("[\"x\",1]", "array"),
        ("\"str\"", "string"),
        ("1", "integer"),
        ("true", "boolean"),
    ] {
        cases.push((body.to_owned(), wrong_type(found, "object")));
    }
    let whole = payment().to_string();
    cases.push((format!("\u{feff}{whole}"), not_json()));
    cases.push((format!("{whole}{whole}"), not_json()));
    cases.push((whole[..whole.len() - 1].to_owned(), not_json()));
    cases
}

/// Required properties missing and of the wrong type.
fn incomplete_bodies() -> BodyCases {
    let mut cases = BodyCases::new();
    for property in ["paymentId", "userId", "amount", "currency", "description"] {
        let mut payment = payment();
        payment.as_object_mut().expect("an object").remove(property);
        let missing = format!("[object has missing required properties ([\"{property}\"])]");
        cases.push((payment.to_string(), Says(missing)));
        for (value, found) in [
            ("null", "null"),
            ("1", "integer"),
            ("1.5", "number"),
            ("true", "boolean"),
            ("[]", "array"),
            ("{}", "object"),
            ("[\"x\"]", "array"),
        ] {
            cases.push((with(property, value), wrong_type(found, "string")));
        }
        cases.push((with(property, "\"\""), SaysAmongOthers("is too short (length: 0, ")));
        cases.push((with(property, "\"\\ud800\""), not_json()));
    }
    let all = "[object has missing required properties \
               ([\"amount\",\"currency\",\"description\",\"paymentId\",\"userId\"])]";
    cases.push(("{}".to_owned(), Says(all.to_owned())));
    cases
}

/// Strings that break a rule, or that a pattern cannot judge.
fn wrong_strings() -> BodyCases {
    let mut cases = BodyCases::new();
    let no_match = || SaysAmongOthers("\" does not match input string \"");
    let uuid = "7d4df5ae-3f6b-4c27-9d0e-5b6c1c1f0a41";
    for property in ["paymentId", "userId"] {
        for value in [
            uuid.to_uppercase(),
            format!("{uuid}\\n"),
            format!("{uuid} "),
            format!(" {uuid}"),
            uuid.replace('-', ""),
            format!("{{{uuid}}}"),
            format!("urn:uuid:{uuid}"),
        ] {
            cases.push((with(property, &format!("\"{value}\"")), no_match()));
        }
    }
    for amount in [
        "-1",
        "+1",
        "1e3",
        "007",
        "00",
        ".5",
        "1.",
        "1,5",
        " 1",
        "1 ",
        "1\\n",
        "0x1",
        "Infinity",
        "12345678901234",
        "1.123456",
        "\u{661}\u{662}",
        "１",
    ] {
        cases.push((with("amount", &format!("\"{amount}\"")), no_match()));
    }
    // A pattern cannot tell.
    for (property, value) in [
        ("amount", "\"0\""),
        ("amount", "\"0.00\""),
        ("amount", "\"1.005\""),
        ("currency", "\"ZZZ\""),
    ] {
        cases.push((with(property, value), Queued));
    }
    for currency in ["gbp", "GB", "GBPX", "GBP\\n", "ＧＢＰ"] {
        cases.push((with("currency", &format!("\"{currency}\"")), no_match()));
    }
    for description in ["\\u0000", "\\u0001x", "\\u001f", "\\ufffe", "\\uffff"] {
        cases.push((with("description", &format!("\"{description}\"")), no_match()));
    }
    let long = "x".repeat(257);
    let too_long = format!("[string \"{long}\" is too long (length: 257, maximum allowed: 256)]");
    cases.push((with("description", &format!("\"{long}\"")), Says(too_long)));
    cases
}

/// Unknown properties, and properties of properties.
fn wrong_shapes() -> BodyCases {
    let whole = payment().to_string();
    let mut cases = BodyCases::new();
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let unknown = |name: &str| {
        let words = "object instance has properties which are not allowed by the schema";
        Says(format!("[{words}: [\"{name}\"]]"))
    };
    cases.push((with("unknown", "1"), unknown("unknown")));
    cases.push((with("un known", "1"), unknown("un known")));
    cases.push((with("_storedAt", "1"), unknown("_storedAt")));
    cases.push((with("unknown", &nested(31)), unknown("unknown")));
    cases.push((with("unknown", &nested(200)), not_json()));
    let missing = "[object has missing required properties ([\"identification\",\"schemeName\"])]";
    cases.push((with("creditorAccount", "{}"), Says(missing.to_owned())));
    // API Gateway lets them pass; the function refuses what is ambiguous.
    cases.push((whole.replace('{', "{\"amount\":\"1\","), Queued));
    cases
}

#[tokio::test]
async fn a_bad_body_is_refused_in_the_words_of_api_gateway() {
    let stack = Stack::new();
    let cases = [malformed_bodies(), incomplete_bodies(), wrong_strings(), wrong_shapes()];
    for (body, expected) in cases.into_iter().flatten() {
        let (status, answer, _) = stack.submit(body.clone()).await;
        if matches!(expected, Queued) {
            assert_eq!(status, 200, "{body}: {answer}");
            assert_eq!(stack.take_sent().len(), 1, "{body}");
            continue;
        }
        assert_eq!((status, &answer["code"]), (400, &json!("invalid_body")), "{body}");
        assert_eq!(stack.take_sent().len(), 0, "{body}");
        let message = answer["message"].as_str().expect("a message");
        match expected {
            Says(sentence) => assert_eq!(message, sentence, "{body}"),
            SaysAmongOthers(words) => assert!(message.contains(words), "{body}: {message}"),
            Queued => {}
        }
    }
}

/// Every answer is parsed as JSON, so a value that was put into it as it came would be found here.
#[tokio::test]
async fn a_value_that_a_400_repeats_is_repeated_whole_and_breaks_no_json() {
    let stack = Stack::new();
    for hostile in [
        "\",\"code\":\"ok\",\"x\":\"",
        "O'Brien \\ \\\\ \\\" \" </script>",
        "\u{0}\u{1}\u{8}\n\r\t\u{1f}\u{7f}\u{2028}\u{feff}",
        "$context.requestId ${x} #set($x = 1) $util.urlEncode",
        "\u{1f4b8}\u{202e}שלום",
    ] {
        for property in ["paymentId", "amount", "creditorAccount"] {
            let (status, answer, _) =
                stack.submit(with(property, &json!([hostile]).to_string())).await;
            assert_eq!(status, 400, "{hostile}: {answer}");
            let (status, answer, _) =
                stack.submit(with(property, &json!(hostile).to_string())).await;
            assert_eq!((status, &answer["code"]), (400, &json!("invalid_body")), "{answer}");
            let message = answer["message"].as_str().expect("a message");
            assert!(property == "creditorAccount" || message.contains(hostile), "{message}");
        }
    }
}

#[tokio::test]
async fn a_bad_request_is_refused_as_api_gateway_refuses_it() {
    let typed = |media_type: &str| put().header("content-type", media_type);
    let bearer = |token: &str| Request::put("/submit").header("authorization", token);
    let unauthorized = vec![
        Request::put("/submit"),
        bearer("x.y.z"),
        bearer(&token("")),
        bearer(&token("payments/read")),
    ];
    let unknown_route = vec![
        get("/submit"),
        get("/submit").method("POST"),
        get("/submit").method("BREW"),
        get("/submit").header("x-http-method-override", "PUT"),
        put().uri("/"),
        put().uri("/submit/x"),
        put().uri("/Submit"),
        put().uri("/%73ubmit"),
    ];
    let unsupported_media_type = vec![
        typed("text/plain"),
        typed("application/xml"),
        typed("application/vnd.api+json"),
        typed("application/x-www-form-urlencoded"),
        typed(""),
        typed("text/plain; charset=utf-8"),
        typed("application/jsonp; charset=utf-8"),
        typed("application/json").header("content-type", "text/plain"),
        put().header("content-encoding", "gzip"),
    ];
    let payload_too_large = vec![put().header("x", "x".repeat(11_000))];
    let cases = [
        (401, "unauthorized", "Unauthorized", unauthorized),
        (403, "unknown_route", "No such path or method", unknown_route),
        (415, "unsupported_media_type", "Unsupported Media Type", unsupported_media_type),
        (413, "payload_too_large", "Request Too Long", payload_too_large),
    ];
    let stack = Stack::new();
    for (status, code, message, requests) in cases {
        for request in requests {
            let request = request.body(payment().to_string().into());
            let request = request.expect("a request");
            let name = format!("{request:?}");
            let (got, answer, _) = stack.send(request).await;
            assert_eq!((got, &answer["code"]), (status, &json!(code)), "{name}");
            assert_eq!(answer["message"], message, "{name}");
            assert_eq!(stack.take_sent().len(), 0, "{name}");
        }
    }
    for size in [BODY_BYTES_MAX + 1, 9 * 1024, 11 * 1024 * 1024] {
        let (status, answer, _) = stack.submit(vec![b' '; size]).await;
        assert_eq!((status, &answer["code"]), (413, &json!("payload_too_large")));
    }
}

#[tokio::test]
async fn a_good_payment_is_queued_byte_for_byte() {
    let text = |text: &str| with("description", &json!(text).to_string());
    let bodies = [
        payment().to_string(),
        serde_json::to_string_pretty(&payment()).expect("JSON").replace('\n', "\r\n\t"),
        text("&Action=DeleteQueue"),
        text("O'Brien & Söhne + 100% %26 %00 =;"),
        text("$input.body $context.x #set($x = 1) #if(true)x#end ## $$ ${x} \\$x"),
        text("\u{1f4b8}\u{202e}שלום\u{200f} e\u{301} \u{1d4d0}"),
        text("\"quoted\" \\ and / </script>"),
        text("one\r\ntwo\tthree"),
        with("description", "\"\\u0041\\/\\ud83d\\udcb8\""),
        format!(
            "{} ",
            " ".repeat(BODY_BYTES_MAX - 1 - payment().to_string().len()) + &payment().to_string()
        ),
    ];
    let stack = Stack::new();
    for body in bodies {
        let (status, answer, _) = stack.submit(body.clone()).await;
        assert_eq!(status, 200, "{body}: {answer}");
        assert_eq!(answer["status"], "accepted");
        assert_eq!(answer["messageId"], MESSAGE_ID);
        assert_eq!(answer["bodyMd5"], "md5");
        let [form] = &stack.take_sent()[..] else { panic!("not one message: {body}") };
        assert_eq!(form["MessageBody"], body);
        assert_eq!(form["MessageAttribute.2.Value.StringValue"], answer["requestId"]);
        let accepted_at: u64 = form["MessageAttribute.3.Value.StringValue"].parse().expect("ms");
        assert!(accepted_at > 1_700_000_000_000);
    }
}

#[tokio::test]
async fn nothing_a_client_sends_besides_the_body_reaches_the_queue() {
    let typed = |media_type: &str| put().header("content-type", media_type);
    let traced = |trace: &str| put().header("x-amzn-trace-id", trace);
    let cases = [
        put(),
        typed("Application/JSON"),
        typed("application/json; charset=utf-8"),
        typed("application/json;charset=utf-8"),
        typed("application/json; charset=UTF-8"),
        typed("application/json;charset=UTF-8"),
        // Not among the spellings of the document: API Gateway takes the media type alone.
        typed("application/json; charset=\"utf-8\""),
        put().uri("/submit?sub=x&Action=DeleteQueue"),
        put().header("sub", "x").header("x-amzn-requestid", "x"),
        put().header("x-http-method-override", "DELETE"),
        traced("Root=1-5e6722a7-cc5612346db46db7e02d4da4;Sampled=1"),
        traced("Root=1-x&MessageBody=y"),
    ];
    let stack = Stack::new();
    for request in cases {
        let request = request.body(payment().to_string().into());
        let request = request.expect("a request");
        let name = format!("{request:?}");
        let (status, _, headers) = stack.send(request).await;
        assert_eq!(status, 200, "{name}");
        let [form] = &stack.take_sent()[..] else { panic!("not one message: {name}") };
        let id = headers["x-amz-apigw-id"].to_str().expect("text");
        let accepted_at = form["MessageAttribute.3.Value.StringValue"].as_str();
        let expected = [
            (attribute::SUB, USER),
            (attribute::REQUEST_ID, id),
            (attribute::ACCEPTED_AT, accepted_at),
            (attribute::SCHEMA_VERSION, &SCHEMA_VERSION.to_string()),
        ];
        for (index, (attribute, value)) in expected.into_iter().enumerate() {
            let prefix = format!("MessageAttribute.{}", index + 1);
            assert_eq!(form[&format!("{prefix}.Name")], attribute, "{name}");
            assert_eq!(form[&format!("{prefix}.Value.StringValue")], value, "{name}");
            assert_eq!(form[&format!("{prefix}.Value.DataType")], "String", "{name}");
        }
        assert_eq!(form["MessageGroupId"], USER, "{name}");
        assert_eq!(form.len(), 15, "{name}: {form:?}");
    }
}

#[tokio::test]
async fn only_the_queues_200_with_a_message_id_is_an_acceptance() {
    let result = |id: Value| {
        let result = json!({ "MessageId": id, "MD5OfMessageBody": "md5" });
        json!({ "SendMessageResponse": { "SendMessageResult": result } }).to_string()
    };
    let good = || result(json!(MESSAGE_ID)).into_bytes();
    let xml =
        format!("<SendMessageResponse><MessageId>{MESSAGE_ID}</MessageId></SendMessageResponse>");
    let cases: Vec<(u16, Vec<u8>, u16, &str)> = vec![
        (200, good(), 200, ""),
        (200, result(json!("")).into(), 500, "internal_error"),
        (200, result(Value::Null).into(), 500, "internal_error"),
        (200, xml.into(), 500, "internal_error"),
        (200, Vec::new(), 500, "internal_error"),
        (200, b"{}".to_vec(), 500, "internal_error"),
        (200, good()[..40].to_vec(), 500, "internal_error"),
        (200, vec![0xff], 503, "unavailable"),
        (200, vec![b' '; 100_000], 503, "unavailable"),
        (201, good(), 503, "unavailable"),
        (302, good(), 503, "unavailable"),
        (400, good(), 500, "internal_error"),
        (403, b"<Error>AccessDenied</Error>".to_vec(), 500, "internal_error"),
        (404, Vec::new(), 500, "internal_error"),
        (429, Vec::new(), 500, "internal_error"),
        (500, good(), 503, "unavailable"),
        (503, Vec::new(), 503, "unavailable"),
    ];
    for (status, body, expected, code) in cases {
        let name = format!("{status} {}", String::from_utf8_lossy(&body));
        let stack = Stack::with(Answer::Sends(status, body), &document(), Options::default());
        let (got, answer, _) = stack.submit(payment().to_string()).await;
        assert_eq!(got, expected, "{name}: {answer}");
        assert_eq!(answer["code"].as_str().unwrap_or_default(), code, "{name}");
    }
    let hasty = document().replace("timeoutInMillis: 5000", "timeoutInMillis: 20");
    let stack = Stack::with(Answer::Never, &hasty, Options::default());
    let (status, answer, _) = stack.submit(payment().to_string()).await;
    assert_eq!((status, answer["code"].as_str()), (504, Some("timeout")));
}

/// Asks a gateway whose function answers so; the status, the whole answer, and the event.
async fn asked(
    request: Builder,
    answer: impl Fn() -> Result<Bytes, InvokeError> + Send + Sync + 'static,
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

fn answered(answer: &Value) -> Result<Bytes, InvokeError> {
    Ok(Bytes::from(answer.to_string()))
}

#[tokio::test]
async fn a_function_gets_the_whole_request_and_its_answer_is_the_clients() {
    let uri = "/payments/a%2Fb%20c?wait=1&wait=2&x=%C3%A4+b&";
    let request = get(uri).header("if-none-match", "a").header("if-none-match", "b");
    let request = request.header("content-type", "text/plain").header("sub", "x");
    let answer = json!({ "statusCode": 418, "headers": { "ETag": "t" }, "body": "tea" });
    let (status, headers, body, event) = asked(request, move || answered(&answer)).await;
    assert_eq!((status, body.as_str()), (418, "tea"));
    assert_eq!(headers["etag"], "t");
    let event = event.expect("an event");
    assert_eq!(event["resource"], "/payments/{paymentId}");
    assert_eq!(event["path"], "/payments/a%2Fb%20c");
    assert_eq!(event["httpMethod"], "GET");
    assert_eq!(event["pathParameters"], json!({ "paymentId": "a/b c" }));
    assert_eq!(event["queryStringParameters"], json!({ "wait": "2", "x": "ä b" }));
    let all = json!({ "wait": ["1", "2"], "x": ["ä b"] });
    assert_eq!(event["multiValueQueryStringParameters"], all);
    assert_eq!(event["headers"]["if-none-match"], "b");
    assert_eq!(event["multiValueHeaders"]["if-none-match"], json!(["a", "b"]));
    assert_eq!(event["body"], Value::Null);
    let context = &event["requestContext"];
    assert_eq!(context["authorizer"]["claims"]["sub"], USER);
    assert_eq!(context["extendedRequestId"], headers["x-amz-apigw-id"].to_str().expect("text"));
    let good = || answered(&json!({ "statusCode": 200 }));
    let (status, _, _, event) = asked(get("/payments"), good).await;
    let event = event.expect("an event");
    assert_eq!((status, &event["resource"]), (200, &json!("/payments")));
    for empty in ["pathParameters", "queryStringParameters", "multiValueQueryStringParameters"] {
        assert_eq!(event[empty], Value::Null, "{empty}");
    }
}

#[tokio::test]
async fn a_function_is_asked_only_what_the_document_lets_through() {
    let good = || answered(&json!({ "statusCode": 200 }));
    let bearer = |token: &str| Request::get("/payments").header("authorization", token);
    let cases = [
        (401, "unauthorized", Request::get("/payments")),
        (401, "unauthorized", bearer(&token("payments/submit"))),
        (403, "unknown_route", get("/payments/")),
        (403, "unknown_route", get("/payments/a/b")),
        (403, "unknown_route", get("/Payments")),
        (403, "unknown_route", get("/payments").method("PUT")),
        (403, "unknown_route", get("/payments/a").method("DELETE")),
    ];
    for (status, code, request) in cases {
        let name = format!("{request:?}");
        let (got, headers, body, event) = asked(request, good).await;
        assert_eq!(got, status, "{name}: {body}");
        assert_eq!(headers["access-control-allow-origin"], ORIGIN);
        assert!(body.contains(&format!("\"code\":\"{code}\"")), "{name}: {body}");
        assert!(event.is_none(), "{name}");
    }
    // The document requires none of its own; API Gateway would check it.
    let strict = document()
        .replace("        - name: limit\n", "        - name: limit\n          required: true\n");
    let (functions, _) = functions(good);
    let verifier = issuer().verifier();
    let gateway = Gateway::new(&strict, verifier, Router::new(), &functions, Options::default());
    let gateway = gateway.expect("the document").router();
    let ask = async |uri: &str| {
        let request = get(uri).body(Body::empty()).expect("a request");
        let Ok(response) = gateway.clone().oneshot(request).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    };
    assert_eq!(ask("/payments?limit=").await.0, 200);
    let (status, body) = ask("/payments?limits=1").await;
    assert_eq!(status, 400);
    assert!(body.contains("invalid_parameters") && body.contains("[limit]"), "{body}");
}

type Answers = fn() -> Result<Bytes, InvokeError>;

#[tokio::test]
async fn a_function_that_fails_is_a_uniform_error() {
    let cases: [(Answers, u16); 9] = [
        (|| Err(InvokeError::Exited), 502),
        (|| Err(InvokeError::TimedOut { after: Duration::from_secs(28) }), 502),
        (|| Err(InvokeError::Unavailable), 500),
        (|| Ok(Bytes::new()), 502),
        (|| Ok(Bytes::from("null")), 502),
        (|| answered(&json!({ "body": "x" })), 502),
        (|| answered(&json!({ "statusCode": 99 })), 502),
        (|| answered(&json!({ "statusCode": 200, "body": 1 })), 502),
        (|| answered(&json!({ "statusCode": 200, "headers": { "a b": "c" } })), 502),
    ];
    for (index, (answer, expected)) in cases.into_iter().enumerate() {
        let (status, headers, body, _) = asked(get("/payments"), answer).await;
        assert_eq!(status, expected, "case {index}: {body}");
        assert_eq!(headers["retry-after"], "5", "case {index}");
        assert!(body.contains("\"code\":\"internal_error\""), "case {index}: {body}");
        assert!(body.contains("It is not known whether"), "case {index}: {body}");
    }
}

#[tokio::test]
async fn a_browser_is_told_what_it_may_send() {
    let stack = Stack::new();
    let preflight = Request::options("/submit").header("origin", ORIGIN);
    let preflight = preflight.body(Body::empty()).expect("a request");
    let (status, _, headers) = stack.send(preflight).await;
    assert_eq!(status, 204);
    assert_eq!(headers["access-control-allow-methods"], "OPTIONS,PUT");
    assert_eq!(headers["access-control-allow-headers"], "Authorization,Content-Type");
    assert_eq!(stack.take_sent().len(), 0);
}

#[tokio::test]
async fn over_the_rate_is_429_and_says_when_to_come_back() {
    let rate_limit = NonZeroU32::new(1);
    let options = Options { rate_limit, ..Options::default() };
    let answer = Answer::Sends(500, Vec::new());
    let stack = Stack::with(answer, &document(), options);
    assert_eq!(stack.submit(payment().to_string()).await.0, 503);
    let (status, answer, headers) = stack.submit(payment().to_string()).await;
    assert_eq!((status, answer["code"].as_str()), (429, Some("too_many_requests")));
    assert_eq!(headers["retry-after"], "1");
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let options = Options { body_timeout: Duration::from_millis(20), ..Options::default() };
    let stack = Stack::with(Answer::Never, &document(), options);
    let body = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let (status, answer, _) = stack.submit(body).await;
    assert_eq!((status, answer["code"].as_str()), (408, Some("bad_request")));
}

/// What stands in the document, what somebody makes of it, and a part of the complaint.
const UNKNOWN: [(&str, &str, &str); 37] = [
    ("openapi: 3.0.1", "openapi: 3.1.0", "3.1.0"),
    ("  /submit:", "  /submit/{id}:", "path parameters"),
    ("    put:", "    delete:", "delete"),
    (
        "      operationId: submitPayment\n",
        "      operationId: x\n      deprecated: true\n",
        "deprecated",
    ),
    ("request-validator: body-and-parameters", "request-validator: none", "validator"),
    ("        - users:\n            - payments/submit", "        - users: []", "ID tokens"),
    ("        - users:\n", "        - others:\n", "others"),
    ("in: header", "in: query", "query"),
    ("authtype: cognito_user_pools", "authtype: oauth2", "oauth2"),
    ("type: aws\n", "type: aws_proxy\n", "passthroughBehavior"),
    ("        - name: paymentId\n", "        - name: id\n", "path parameters"),
    ("          in: path\n          required: true", "          in: path", "path parameter"),
    ("          in: query\n", "          in: cookie\n", "cookie"),
    ("            maximum: 25\n", "            exclusiveMaximum: 25\n", "exclusiveMaximum"),
    ("function:query-payments:live", "function:another", "function"),
    ("passthroughBehavior: never", "passthroughBehavior: when_no_match", "when_no_match"),
    ("httpMethod: POST", "httpMethod: GET", "GET"),
    (":sqs:path/", ":sns:path/", "SQS"),
    (
        "        timeoutInMillis: 5000",
        "        contentHandling: CONVERT_TO_TEXT\n        timeoutInMillis: 1",
        "contentHandling",
    ),
    ("          application/json;charset=UTF-8: *payment\n", "", "content types"),
    ("          application/json;charset=UTF-8: *send_message\n", "", "content types"),
    ("application/json; charset=utf-8: *payment", "text/plain: *payment", "text/plain"),
    ("json; charset=utf-8: *send_message", "json; charset=utf-8: x", "is not as application/json"),
    (
        "          application/json: &payment\n",
        "          application/json;: &payment\n",
        "missing",
    ),
    ("$util.urlEncode($input.body)", "$util.base64Encode($input.body)", "$util"),
    ("$context.requestTimeEpoch", "$context.identity.sourceIp", "$context"),
    ("$context.responseOverride.status = 500", "$context.responseOverride.header.x = 'x'", "#set"),
    (
        "          default:\n            statusCode: '503'",
        "          '5':\n            statusCode: '503'",
        "default",
    ),
    ("            statusCode: '503'", "            statusCode: '502'", "502"),
    ("method.response.header.Retry-After:", "method.response.header.X-Other:", "X-Other"),
    (
        "header.Accept: \"'application/json'\"",
        "header.Accept: method.request.header.Accept",
        "static",
    ),
    ("gatewayresponse.header.Retry-After:", "header.Retry-After:", "header.Retry-After"),
    ("\"message\":$context.error.messageString", "\"message\":$input.body", "$context"),
    ("  DEFAULT_5XX:", "  DEFAULT_6XX:", "DEFAULT_6XX"),
    ("  DEFAULT_5XX:", "  QUOTA:", "QUOTA"),
    ("          maxLength: 256", "          maxItems: 256", "maxItems"),
    ("#/components/schemas/Payment", "#/components/schemas/Nothing", "schema"),
];

#[test]
fn a_document_with_anything_unknown_is_not_served() {
    let serve = |document: &str| {
        let functions = no_functions();
        let verifier = issuer().verifier();
        Gateway::new(document, verifier, Router::new(), &functions, Options::default())
    };
    assert!(serve(&document()).is_ok());
    for (from, to, complaint) in UNKNOWN {
        let changed = document().replace(from, to);
        assert!(changed != document(), "the document has no {from}");
        let error = serve(&changed).err().expect(to);
        assert!(format!("{error:#}").contains(complaint), "{to}: {error:#}");
    }
}

mod over_tcp {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::oneshot;

    use super::*;

    /// Sends `bytes` and reads until the server closes the connection.
    async fn exchange(address: std::net::SocketAddr, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        // The server may hang up before it has read everything.
        stream.write_all(bytes).await.ok();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer));
        read.await.expect("the server hangs up").ok();
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn slow_huge_and_malformed_requests_leave_the_server_unharmed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stack = Stack::new();
        let (stop, stopped) = oneshot::channel::<()>();
        let router = stack.router.clone();
        let server = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap_or_default() };
            server::serve_with(listener, router, stopped, Duration::from_millis(500)).await
        });
        let token = token(SCOPES);
        let start = format!("PUT /submit HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n");
        let body = payment().to_string();
        let good =
            format!("{start}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let huge = format!("{start}Content-Length: 11534336\r\n\r\n{}", "x".repeat(100_000));
        let chunked =
            format!("{start}Transfer-Encoding: chunked\r\n\r\nFFFFF\r\n{}", "x".repeat(0xfffff));
        let cases = [
            ("good", good.clone(), "HTTP/1.1 200"),
            ("a head that never ends", start.clone(), ""),
            ("nothing", String::new(), ""),
            (
                "10,000 headers",
                format!("{start}{}\r\n", "X-Y: z\r\n".repeat(10_000)),
                "HTTP/1.1 431",
            ),
            (
                "a huge header",
                format!("{start}X: {}\r\n\r\n", "x".repeat(1_000_000)),
                "HTTP/1.1 431",
            ),
            ("a huge body", huge, "HTTP/1.1 413"),
            ("a huge chunked body", chunked, "HTTP/1.1 413"),
            ("not HTTP", "\u{16}\u{3}\u{1}\r\n\r\n".to_owned(), "HTTP/1.1 400"),
            (
                "two lengths",
                format!("{start}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
                "HTTP/1.1 400",
            ),
            ("a folded header", format!("{start}X: y\r\n z\r\n\r\n"), "HTTP/1.1 400"),
            ("good again", good, "HTTP/1.1 200"),
        ];
        for (name, bytes, expected) in cases {
            let answer = exchange(address, bytes.as_bytes()).await;
            // A refusal can be lost when the client is still sending; being served can not.
            let lost = answer.is_empty() && !expected.ends_with("200");
            assert!(lost || answer.starts_with(expected), "{name}: {answer}");
        }
        assert_eq!(stack.take_sent().len(), 2);
        stop.send(()).expect("the server is running");
        server.await.expect("no panic").expect("no error");
    }
}
