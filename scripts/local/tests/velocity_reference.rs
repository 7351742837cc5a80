//! Does the gateway render the mapping template as another implementation of Velocity does, byte for
//! byte, whatever the body holds? Needs `python3` with `airspeed`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Request;
use local::gateway::{Gateway, Options, unanswering};
use local::tokens::{EXPIRES_IN, Issuer, SCOPES};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use url::form_urlencoded;

const USER: &str = "5f2c8d34-1b7e-4e0a-8c55-90d1e2f3a4b5";

/// Texts that would end a value, start another one, or be code, if anything read them as such.
const HOSTILE: [&str; 14] = [
    "&Action=DeleteQueue&QueueUrl=x",
    "a=b;c&d",
    "1 + 1 = 2 and 100 % %26 %2B %zz",
    "O'Brien \"quoted\" \\ back / forward",
    "$input.body $!input.body ${input.body} $util.urlEncode('x') $context.authorizer",
    "#set($x = 1)#if(true)yes#end #foreach($i in [1..3])$i#end #stop",
    "## a comment #* another *# #[[unparsed]]#",
    "#parse('x') #include('y') #macro(m)z#end",
    "line\nbreak\r\nand\ttab",
    "🚀 ünï ﷽ שלום \u{202e}right to left e\u{301}",
    "<xml/> <![CDATA[x]]> &amp; &#38;",
    "{\"a\":[1,{\"b\":null}]}",
    "~!@*()_-.,:;?[]{}|^`'",
    "$$ \\$x \\#if $ # $1 $-",
];

fn bodies() -> Vec<String> {
    let body = |text: &str| {
        json!({
            "paymentId": "0b9f6a1e-6c1d-4a57-9f0e-2f6d3c1b8a90", "userId": USER, "amount": "10.50",
            "currency": "GBP", "description": text,
        })
    };
    let plain = HOSTILE.iter().map(|text| body(text).to_string());
    let pretty = HOSTILE.iter().map(|text| format!(" {:#}\n", body(text)));
    let escaped = ["\\u0026\\u002b\\u0025\\/\\n\\\"".to_owned(), "\\ud83d\\ude80".to_owned()];
    let escaped = escaped.iter().map(|text| body("@").to_string().replace('@', text));
    plain.chain(pretty).chain(escaped).collect()
}

/// The forms that the gateway sends for these bodies.
async fn rendered_by_the_gateway(bodies: &[String]) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let issuer = Issuer::open(directory.path()).expect("an issuer");
    let token = issuer.issue(USER, SCOPES, EXPIRES_IN).expect("a token");
    let forms = Arc::new(Mutex::new(Vec::new()));
    let received = Arc::clone(&forms);
    let queue = Router::new().fallback(async move |form: Bytes| {
        let form = String::from_utf8(form.to_vec()).expect("a form is ASCII");
        received.lock().expect("no panic").push(form);
        r#"{"SendMessageResponse":{"SendMessageResult":{"MessageId":"m","MD5OfMessageBody":"d"}}}"#
    });
    let names = "partition region account_id queue_name gateway_role_arn user_pool_arn \
                 query_payments_arn allowed_origin";
    let values: Vec<(&str, &str)> = names.split_whitespace().map(|name| (name, "x")).collect();
    let document = schema::document::render(schema::document::TEXT, &values).expect("the document");
    let (verifier, options) = (issuer.verifier(), Options::default());
    let gateway = Gateway::new(&document, verifier, queue, &unanswering("x"), options);
    let router = gateway.expect("a gateway").router();
    for body in bodies {
        let request = Request::put("/submit")
            .header("authorization", format!("Bearer {token}"))
            .body(Body::from(body.clone()));
        let Ok(answer) = router.clone().oneshot(request.expect("a request")).await;
        assert_eq!(answer.status(), 200, "{body}");
    }
    std::mem::take(&mut *forms.lock().expect("no panic"))
}

/// The forms that the other implementation renders, given what only the gateway could know.
fn rendered_by_the_reference(bodies: &[String], forms: &[String]) -> Vec<String> {
    let document: Value = yaml_serde::from_str(schema::document::TEXT).expect("the document");
    let integration = &document["paths"]["/submit"]["put"]["x-amazon-apigateway-integration"];
    let request = |(body, form): (&String, &String)| {
        let form: BTreeMap<_, _> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        let attribute =
            |number: usize| &form[&format!("MessageAttribute.{number}.Value.StringValue")];
        json!({ "body": body, "context": {
            "authorizer": { "claims": { "sub": attribute(1) } },
            "extendedRequestId": attribute(2),
            "requestTimeEpoch": attribute(3),
            "xrayTraceId": "",
        } })
    };
    let given = json!({
        "template": integration["requestTemplates"]["application/json"],
        "requests": bodies.iter().zip(forms).map(request).collect::<Vec<_>>(),
    });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/velocity.py");
    let mut python = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is on the path");
    let mut input = python.stdin.take().expect("a pipe");
    input.write_all(given.to_string().as_bytes()).expect("python3 reads");
    drop(input);
    let output = python.wait_with_output().expect("python3 ends");
    assert!(output.status.success(), "python3 needs what tests/requirements.txt lists");
    serde_json::from_slice(&output.stdout).expect("a list of texts")
}

fn decoded(form: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(form.as_bytes()).into_owned().collect()
}

#[tokio::test]
async fn the_mapping_template_renders_as_in_another_velocity() {
    let bodies = bodies();
    let forms = rendered_by_the_gateway(&bodies).await;
    let references = rendered_by_the_reference(&bodies, &forms);
    assert_eq!(forms.len(), bodies.len());
    assert_eq!(references.len(), bodies.len());
    for ((body, form), reference) in bodies.iter().zip(&forms).zip(&references) {
        assert_eq!(decoded(form), decoded(reference), "{body}");
        assert_eq!(decoded(form)[1], ("MessageBody".to_owned(), body.clone()));
    }
}
