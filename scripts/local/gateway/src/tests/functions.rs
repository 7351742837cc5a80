//! Routes behind which a function is.

use super::*;

fn answered(answer: &Value) -> Result<Bytes, NoAnswer> {
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

type Answers = fn() -> Result<Bytes, NoAnswer>;

#[tokio::test]
async fn a_function_that_fails_is_a_uniform_error() {
    let cases: [(Answers, u16); 8] = [
        (|| Err(NoAnswer::Failed), 502),
        (|| Err(NoAnswer::Throttled), 500),
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
