//! The requests that reach DynamoDB, and what its answers become: a connector stands in for the
//! network, everything above it is real.

#![expect(clippy::unwrap_used, reason = "a test may stop at whatever it does not expect")]

use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::http::{Response, StatusCode};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::RetryConfig;
use payments_table::item::of_payment;
use payments_table::record::Because;
use payments_table::{Kind, PaymentsTable, Put, Record, Submission};
use schema::envelope::DeadReason;
use schema::payment::Payment;
use serde_json::{Value, json};

const BODY: &str = include_str!("../../../tests/fixtures/payment-minimal-v1.json");

/// Keeps what it is asked and always gives the same answer.
#[derive(Debug, Clone)]
struct Wire {
    asked: Arc<Mutex<Vec<Value>>>,
    status: u16,
    answer: Value,
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = request.body().bytes().expect("a request of the table is no stream");
        self.asked.lock().unwrap().push(serde_json::from_slice(body).unwrap());
        let status = StatusCode::try_from(self.status).unwrap();
        let mut response = Response::new(status, SdkBody::from(self.answer.to_string()));
        response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
        HttpConnectorFuture::ready(Ok(response))
    }
}

fn table(status: u16, answer: Value) -> (PaymentsTable, Wire) {
    let wire = Wire { asked: Arc::default(), status, answer };
    let connector = wire.clone();
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-west-2"))
        .credentials_provider(Credentials::from_keys("key", "secret", None))
        .retry_config(RetryConfig::disabled())
        .http_client(http_client_fn(move |_, _| SharedHttpConnector::new(connector.clone())))
        .build();
    let client = Client::from_conf(config);
    (PaymentsTable::new(client, "Payments".to_owned(), "Refusals".to_owned()), wire)
}

fn submission(request_id: &str) -> Submission {
    Submission {
        request_id: request_id.to_owned(),
        message_id: "m-1".to_owned(),
        accepted_at_ms: 0,
        body_md5: String::new(),
        schema_version: 1,
    }
}

fn record(kind: Kind) -> Record {
    let because = Because { kind, reason: "conflict", message: String::new(), fields: Vec::new() };
    Record::new("sub", Some("id"), &submission("r-1"), "{}", because, 0)
}

fn condition_failed(item: &Value) -> Value {
    let code = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
    json!({ "__type": code, "message": "The conditional request failed", "Item": item })
}

#[tokio::test]
async fn a_payment_is_put_only_where_none_is_stored() {
    let (table, wire) = table(200, json!({}));
    let payment = Payment::parse(BODY).unwrap();
    let put = table.put_payment(&payment, &submission("r-1"), 0).await;
    assert_eq!(put, Ok(Put::Stored));
    let asked = wire.asked.lock().unwrap().remove(0);
    assert_eq!(asked["TableName"], "Payments");
    assert_eq!(asked["ConditionExpression"], "attribute_not_exists(paymentId)");
    assert_eq!(asked["ReturnValuesOnConditionCheckFailure"], "ALL_OLD");
    let attributes = asked["Item"].as_object().unwrap();
    assert_eq!(attributes.len(), of_payment(&payment, &submission("r-1"), 0).len());
    assert_eq!(attributes["paymentId"], json!({ "S": payment.payment_id().as_str() }));
}

#[tokio::test]
async fn a_failed_condition_shows_the_stored_payment() {
    let stored = json!({ "_requestId": { "S": "r-0" }, "_x": { "N": "1" }, "a": { "N": "1.5" } });
    let (table, _) = table(400, condition_failed(&stored));
    let payment = Payment::parse(BODY).unwrap();
    match table.put_payment(&payment, &submission("r-1"), 0).await {
        Ok(Put::Exists(stored)) => {
            assert_eq!(stored.request_id, "r-0");
            assert_eq!(stored.body.keys().collect::<Vec<_>>(), ["a"]);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_other_answer_is_a_failure() {
    for (status, answer, reason) in [
        (400, condition_failed(&json!({})), DeadReason::ItemUnreadable),
        (400, json!({ "__type": "x#ThrottlingException" }), DeadReason::Throttled),
        (400, json!({ "__type": "x#ResourceNotFoundException" }), DeadReason::TableNotFound),
        (400, json!({ "__type": "x#ValidationException" }), DeadReason::RequestRejected),
        (400, json!({ "__type": "x#SomethingNew" }), DeadReason::UnknownError),
        (500, json!({ "__type": "x#InternalServerError" }), DeadReason::Unavailable),
        (503, json!({}), DeadReason::Unavailable),
    ] {
        let (table, _) = table(status, answer);
        let payment = Payment::parse(BODY).unwrap();
        let failed = table.put_payment(&payment, &submission("r-1"), 0).await.unwrap_err();
        assert_eq!((failed.reason, failed.may_pass()), (reason, true));
    }
}

#[tokio::test]
async fn a_record_is_written_once_and_only_a_refusal_replaces_a_held_one() {
    let none = "attribute_not_exists(userId)";
    for (kind, condition, held) in [
        (Kind::Held, none.to_owned(), Value::Null),
        (Kind::Refused, format!("{none} OR #kind = :held"), json!({ ":held": { "S": "held" } })),
    ] {
        let (table, wire) = table(200, json!({}));
        assert_eq!(table.record(&record(kind)).await, Ok(()));
        let asked = wire.asked.lock().unwrap().remove(0);
        assert_eq!(asked["TableName"], "Refusals");
        assert_eq!(asked["ConditionExpression"], condition);
        assert_eq!(asked["ExpressionAttributeValues"], held);
        assert_eq!(asked["Item"]["kind"], json!({ "S": kind.to_string() }));
        assert_eq!(asked["Item"]["paymentId#requestId"], json!({ "S": "id#r-1" }));
    }
}

#[tokio::test]
async fn a_record_that_is_there_already_is_recorded() {
    let (there, _) = table(400, condition_failed(&json!({})));
    assert_eq!(there.record(&record(Kind::Refused)).await, Ok(()));
    let (throttled, _) = table(400, json!({ "__type": "x#ThrottlingException" }));
    let failed = throttled.record(&record(Kind::Refused)).await.unwrap_err();
    assert_eq!(failed.reason, DeadReason::Throttled);
}
