//! Good and bad requests, and what reaches the queue of them.

use std::num::NonZeroU32;
use std::time::Duration;

use schema::envelope::{SCHEMA_VERSION, attribute};

use super::*;
use crate::gateway::BODY_BYTES_MAX;

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
