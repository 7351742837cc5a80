//! Any body, through the whole gateway: it is refused with an error of the client, or the template sends
//! it to the queue byte for byte, with nothing of it outside the parameter that holds it.

#![no_main]

use std::sync::{Arc, LazyLock, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Request;
use libfuzzer_sys::fuzz_target;
use local::gateway::{Gateway, Options, unanswering};
use local::tokens::{EXPIRES_IN, Issuer, SCOPES};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;
use url::form_urlencoded;

const USER: &str = "5f2c8d34-1b7e-4e0a-8c55-90d1e2f3a4b5";

/// What the template sends, in its order; the body's place is the second one.
const NAMES: [&str; 15] = [
    "Action",
    "MessageBody",
    "MessageGroupId",
    "MessageAttribute.1.Name",
    "MessageAttribute.1.Value.DataType",
    "MessageAttribute.1.Value.StringValue",
    "MessageAttribute.2.Name",
    "MessageAttribute.2.Value.DataType",
    "MessageAttribute.2.Value.StringValue",
    "MessageAttribute.3.Name",
    "MessageAttribute.3.Value.DataType",
    "MessageAttribute.3.Value.StringValue",
    "MessageAttribute.4.Name",
    "MessageAttribute.4.Value.DataType",
    "MessageAttribute.4.Value.StringValue",
];

struct Stand {
    runtime: Runtime,
    router: Router,
    token: String,
    form: Arc<Mutex<Option<Bytes>>>,
}

static STAND: LazyLock<Stand> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory");
    let issuer = Issuer::open(directory.path()).expect("an issuer");
    let form = Arc::new(Mutex::new(None));
    let received = Arc::clone(&form);
    let queue = Router::new().fallback(async move |form: Bytes| {
        *received.lock().expect("no panic") = Some(form);
        r#"{"SendMessageResponse":{"SendMessageResult":{"MessageId":"m","MD5OfMessageBody":"d"}}}"#
    });
    let names = "partition region account_id queue_name gateway_role_arn user_pool_arn \
                 query_payments_arn allowed_origin";
    let values: Vec<(&str, &str)> = names.split_whitespace().map(|name| (name, "x")).collect();
    let document = schema::document::render(schema::document::TEXT, &values).expect("the document");
    let (verifier, options) = (issuer.verifier(), Options::default());
    let gateway = Gateway::new(&document, verifier, queue, &unanswering("x"), options);
    Stand {
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime"),
        router: gateway.expect("a gateway").router(),
        token: issuer.issue(USER, SCOPES, EXPIRES_IN).expect("a token"),
        form,
    }
});

fuzz_target!(|body: &[u8]| {
    let request = Request::put("/submit")
        .header("authorization", format!("Bearer {}", STAND.token))
        .header("content-type", "application/json")
        .body(Body::from(body.to_vec()))
        .expect("a request");
    let Ok(answer) = STAND.runtime.block_on(STAND.router.clone().oneshot(request));
    let form = STAND.form.lock().expect("no panic").take();
    match (answer.status().as_u16(), form) {
        (200, Some(form)) => {
            let form: Vec<_> = form_urlencoded::parse(&form).into_owned().collect();
            assert!(form.iter().map(|(name, _)| name).eq(NAMES), "{form:?}");
            assert_eq!(form[1].1.as_bytes(), body);
            assert_eq!((&*form[2].1, &*form[5].1), (USER, USER));
        }
        (status, form) => assert!((400..500).contains(&status) && form.is_none(), "{status}"),
    }
});
