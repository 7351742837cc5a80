//! Documents that the gateway must not serve.

use std::collections::BTreeSet;

use super::*;

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

#[test]
fn the_scopes_of_a_token_are_those_that_the_document_asks_for() {
    let document: Value = yaml_serde::from_str(schema::document::TEXT).expect("the document");
    let paths = document["paths"].as_object().expect("paths").values();
    let operations = paths.flat_map(|path| path.as_object().expect("operations").values());
    let schemes = operations.flat_map(|one| one["security"].as_array().into_iter().flatten());
    let scopes = schemes.flat_map(|scheme| scheme.as_object().expect("a scheme").values());
    let scopes = scopes.flat_map(|scopes| scopes.as_array().expect("scopes"));
    let asked: BTreeSet<&str> = scopes.map(|scope| scope.as_str().expect("a scope")).collect();
    assert_eq!(SCOPES.split(' ').collect::<BTreeSet<_>>(), asked);
}
