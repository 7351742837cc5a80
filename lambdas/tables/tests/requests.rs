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
use function::failure::CallFailure;
use schema::payment::Payment;
use serde_json::{Value, json};
use tables::item::of_payment;
use tables::record::Because;
use tables::{Kind, Listing, Page, PaymentsTable, Position, Put, Record, Submission};

const BODY: &str = include_str!("../../../tests/fixtures/payment-minimal-v1.json");

/// Keeps what it is asked, and gives its answers from the last to the first, which it repeats.
#[derive(Debug, Clone)]
struct Wire {
    asked: Arc<Mutex<Vec<Value>>>,
    status: u16,
    answers: Arc<Mutex<Vec<Value>>>,
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = request.body().bytes().expect("a request of the table is no stream");
        self.asked.lock().unwrap().push(serde_json::from_slice(body).unwrap());
        let status = StatusCode::try_from(self.status).unwrap();
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop() } else { answers.first().cloned() };
        let mut response = Response::new(status, SdkBody::from(answer.unwrap().to_string()));
        response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
        HttpConnectorFuture::ready(Ok(response))
    }
}

fn table(status: u16, answer: Value) -> (PaymentsTable, Wire) {
    let wire = Wire { asked: Arc::default(), status, answers: Arc::new(Mutex::new(vec![answer])) };
    (table_behind(&wire), wire)
}

fn table_behind(wire: &Wire) -> PaymentsTable {
    let connector = wire.clone();
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-west-2"))
        .credentials_provider(Credentials::from_keys("key", "secret", None))
        .retry_config(RetryConfig::disabled())
        .http_client(http_client_fn(move |_, _| SharedHttpConnector::new(connector.clone())))
        .build();
    let client = Client::from_conf(config);
    PaymentsTable::new(client, "Payments".to_owned(), "Refusals".to_owned())
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
    Record::new("sub", Some("id"), &submission("r-1"), Some("{}"), because, 0)
}

fn condition_failed(item: &Value) -> Value {
    let code = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
    json!({ "__type": code, "message": "The conditional request failed", "Item": item })
}

#[tokio::test]
async fn a_payment_is_put_only_where_none_is_stored() {
    let (table, wire) = table(200, json!({}));
    let payment = Payment::parse(BODY, 0).unwrap();
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
    let mut stored = stored_item("p-1");
    stored["_x"] = json!({ "N": "1" });
    stored["a"] = json!({ "N": "1.5" });
    let (table, _) = table(400, condition_failed(&stored));
    let payment = Payment::parse(BODY, 0).unwrap();
    match table.put_payment(&payment, &submission("r-1"), 0).await {
        Ok(Put::Exists(stored)) => {
            assert_eq!((stored.request_id.as_str(), &*stored.body_md5), ("request of p-1", "md5"));
            assert_eq!(stored.body.keys().collect::<Vec<_>>(), ["a", "paymentId", "userId"]);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_other_answer_is_a_failure() {
    for (status, answer, cause) in [
        (400, condition_failed(&json!({})), CallFailure::Unreadable),
        (400, json!({ "__type": "x#ThrottlingException" }), CallFailure::Throttled),
        (400, json!({ "__type": "x#ResourceNotFoundException" }), CallFailure::NotFound),
        (400, json!({ "__type": "x#ValidationException" }), CallFailure::RequestRejected),
        (400, json!({ "__type": "x#SomethingNew" }), CallFailure::Unknown),
        (500, json!({ "__type": "x#InternalServerError" }), CallFailure::Unavailable),
        (503, json!({}), CallFailure::Unavailable),
    ] {
        let (table, _) = table(status, answer);
        let payment = Payment::parse(BODY, 0).unwrap();
        let failed = table.put_payment(&payment, &submission("r-1"), 0).await.unwrap_err();
        assert_eq!((failed.cause, failed.may_pass()), (cause, true));
    }
}

#[tokio::test]
async fn a_record_gives_way_only_where_it_is_held_or_discarded() {
    for kind in [Kind::Refused, Kind::Duplicate, Kind::Held, Kind::Discarded] {
        let (table, wire) = table(200, json!({}));
        assert_eq!(table.record(&record(kind)).await, Ok(()));
        let asked = wire.asked.lock().unwrap().remove(0);
        assert_eq!(asked["TableName"], "Refusals");
        let mut values = json!({ ":held": { "S": "held" }, ":discarded": { "S": "discarded" } });
        let condition = if kind == Kind::Held {
            values[":recordedAt"] = json!({ "S": "1970-01-01T00:00:00.000Z" });
            "#kind = :held OR (#kind = :discarded AND recordedAt < :recordedAt)"
        } else {
            "#kind IN (:held, :discarded)"
        };
        let condition = format!("attribute_not_exists(userId) OR {condition}");
        assert_eq!(asked["ConditionExpression"], condition);
        assert_eq!(asked["ExpressionAttributeNames"], json!({ "#kind": "kind" }));
        assert_eq!(asked["ExpressionAttributeValues"], values);
        assert_eq!(asked["Item"]["kind"], json!({ "S": kind.to_string() }));
        assert_eq!(asked["Item"]["paymentId#requestId"], json!({ "S": "id#r-1" }));
        let held_at = asked["Item"].get("heldAt");
        assert_eq!(held_at, asked["Item"].get("recordedAt").filter(|_| kind == Kind::Held));
    }
}

#[tokio::test]
async fn what_is_held_is_read_from_its_own_index() {
    let mut held = record_item("held", "1");
    held["heldAt"] = held["recordedAt"].clone();
    held.as_object_mut().unwrap().remove("body");
    let key = json!({ "userId": { "S": "user-a" } });
    let (table, wire) = script([
        json!({ "Items": [held.clone()] }),
        json!({ "Items": [held], "LastEvaluatedKey": key }),
        json!({}),
    ]);
    let page = table.record_page(&listing(2), Kind::Held).await.unwrap();
    assert_eq!((page.items.len(), &page.items[0].body), (1, &None));
    let (records, next) = table.held_records(None).await.unwrap();
    assert_eq!(records[0].held_at.as_deref(), Some("at 1"));
    assert_eq!(table.held_records(next).await, Ok((Vec::new(), None)));
    let asked = wire.asked.lock().unwrap();
    assert!(asked.iter().all(|asked| asked["IndexName"] == "held"));
    assert_eq!(asked[0]["ExpressionAttributeNames"], json!({ "#at": "heldAt" }));
    assert_eq!(
        (&asked[1]["ExclusiveStartKey"], &asked[2]["ExclusiveStartKey"]),
        (&Value::Null, &key)
    );
}

#[tokio::test]
async fn a_record_that_is_there_already_is_recorded() {
    let (there, _) = table(400, condition_failed(&json!({})));
    assert_eq!(there.record(&record(Kind::Refused)).await, Ok(()));
    let (throttled, _) = table(400, json!({ "__type": "x#ThrottlingException" }));
    let failed = throttled.record(&record(Kind::Refused)).await.unwrap_err();
    assert_eq!(failed.cause, CallFailure::Throttled);
}

/// Gives one answer after the other, and keeps what it is asked.
fn script(answers: impl IntoIterator<Item = Value>) -> (PaymentsTable, Wire) {
    let mut answers: Vec<Value> = answers.into_iter().collect();
    answers.reverse();
    let wire = Wire { asked: Arc::default(), status: 200, answers: Arc::new(Mutex::new(answers)) };
    (table_behind(&wire), wire)
}

fn stored_item(id: &str) -> Value {
    json!({
        "paymentId": { "S": id },
        "userId": { "S": "user-a" },
        "_requestId": { "S": format!("request of {id}") },
        "_bodyMd5": { "S": "md5" },
        "_acceptedAt": { "S": "2026-11-20T00:00:00.000Z" },
        "_storedAt": { "S": "2026-11-20T00:00:01.000Z" },
    })
}

fn index_key(id: &str) -> Value {
    json!({
        "paymentId": { "S": id },
        "userId": { "S": "user-a" },
        "_acceptedAt": { "S": format!("at {id}") },
    })
}

fn record_item(kind: &str, request: &str) -> Value {
    let text = |text: &str| json!({ "S": text });
    json!({
        "userId": text("user-a"),
        "paymentId#requestId": text(&format!("id#{request}")),
        "kind": text(kind),
        "reason": text("invalid"),
        "message": text("in words"),
        "fields": { "L": [] },
        "body": text("{}"),
        "bodyMd5": text("md5"),
        "paymentId": text("id"),
        "requestId": text(request),
        "messageId": text("m"),
        "acceptedAt": text("2026-11-20T00:00:00.000Z"),
        "recordedAt": text(&format!("at {request}")),
        "expiresAt": { "N": "1" },
    })
}

fn listing(limit: usize) -> Listing<'static> {
    Listing { user_id: "user-a", from: "from", to: "to", limit, after: None }
}

#[tokio::test]
async fn one_payment_is_read_consistently_and_only_its_users() {
    let (table, wire) = script([json!({ "Item": stored_item("p-1") }), json!({})]);
    let found = table.payment("user-a", "p-1").await.unwrap().unwrap();
    assert_eq!(found.request_id, "request of p-1");
    assert_eq!(table.payment("user-b", "p-1").await, Ok(None));
    for (asked, user) in wire.asked.lock().unwrap().iter().zip(["user-a", "user-b"]) {
        assert_eq!(asked["TableName"], "Payments");
        assert_eq!(asked["ConsistentRead"], true);
        assert_eq!(asked["Key"], json!({ "paymentId": { "S": "p-1" }, "userId": { "S": user } }));
    }
    let (table, wire) =
        script([json!({ "Items": [record_item("refused", "r-1"), record_item("held", "r-2")] })]);
    let records = table.records("user-a", "id").await.unwrap();
    let requests: Vec<&str> = records.iter().map(|record| record.request_id.as_str()).collect();
    assert_eq!(requests, ["r-2", "r-1"], "newest first");
    let asked = wire.asked.lock().unwrap().remove(0);
    assert_eq!((&asked["TableName"], &asked["ConsistentRead"]), (&json!("Refusals"), &json!(true)));
    let values = json!({ ":user": { "S": "user-a" }, ":payment": { "S": "id#" } });
    assert_eq!(asked["ExpressionAttributeValues"], values);
    assert_eq!(asked["KeyConditionExpression"], "userId = :user AND begins_with(#key, :payment)");
}

#[tokio::test]
async fn a_page_of_payments_keeps_the_indexs_order_and_asks_again_for_what_was_left_out() {
    let key = json!({ "paymentId": { "S": "p-1" }, "userId": { "S": "user-a" } });
    let (table, wire) = script([
        json!({ "Items": [index_key("p-2"), index_key("p-1")], "LastEvaluatedKey": index_key("p-1") }),
        json!({
            "Responses": { "Payments": [stored_item("p-2")] },
            "UnprocessedKeys": { "Payments": { "Keys": [key], "ConsistentRead": true } },
        }),
        json!({ "Responses": { "Payments": [stored_item("p-1")] } }),
    ]);
    let page = table.stored_page(&listing(2)).await.unwrap();
    let ids: Vec<&str> = page.items.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["p-2", "p-1"]);
    let next = Position { at: "at p-1".to_owned(), key: "p-1".to_owned() };
    assert_eq!(page.next.as_ref(), Some(&next));
    let asked = wire.asked.lock().unwrap().clone();
    assert_eq!((&asked[0]["IndexName"], &asked[0]["Limit"]), (&json!("byUser"), &json!(2)));
    assert_eq!(asked[0]["ScanIndexForward"], false);
    assert_eq!(asked[0]["ExpressionAttributeValues"][":user"], json!({ "S": "user-a" }));
    assert_eq!(asked[0]["ExclusiveStartKey"], Value::Null);
    assert_eq!(asked[1]["RequestItems"]["Payments"]["Keys"].as_array().unwrap().len(), 2);
    assert_eq!(asked[2]["RequestItems"]["Payments"]["Keys"], json!([key]));

    let (table, wire) = script([json!({ "Items": [] })]);
    let after = Listing { after: Some(&next), ..listing(2) };
    assert_eq!(table.stored_page(&after).await, Ok(Page { items: Vec::new(), next: None }));
    let start = &wire.asked.lock().unwrap()[0]["ExclusiveStartKey"];
    assert_eq!(*start, index_key("p-1"));
}

#[tokio::test(start_paused = true)]
async fn a_table_that_keeps_leaving_payments_out_is_a_failure() {
    let key = json!({ "paymentId": { "S": "p-1" }, "userId": { "S": "user-a" } });
    let nothing = json!({ "UnprocessedKeys": { "Payments": { "Keys": [key] } } });
    let (table, wire) = script(std::iter::repeat_n(nothing, 10));
    let failed = table.payments("user-a", &["p-1", "p-1"]).await.unwrap_err();
    assert_eq!(failed.cause, CallFailure::Throttled);
    assert_eq!(wire.asked.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_page_of_records_has_one_kind_and_ends_at_its_limit_or_after_five_queries() {
    let names = |page: &Page<Record>| -> Vec<String> {
        page.items.iter().map(|record| record.request_id.clone()).collect()
    };
    let next = |page: &Page<Record>| page.next.as_ref().map(|position| position.key.clone());
    let mixed = |more: bool| {
        let items = [
            record_item("refused", "5"),
            record_item("held", "4"),
            record_item("refused", "3"),
            record_item("held", "2"),
        ];
        let last = if more { record_item("held", "2") } else { Value::Null };
        json!({ "Items": items, "LastEvaluatedKey": last })
    };
    let page = async |limit: usize, answers: Vec<Value>| {
        let (table, wire) = script(answers);
        let page = table.record_page(&listing(limit), Kind::Refused).await.unwrap();
        (names(&page), next(&page), wire.asked.lock().unwrap().clone())
    };
    let (found, next, _) = page(1, vec![mixed(false)]).await;
    assert_eq!((found, next), (vec!["5".to_owned()], Some("id#5".to_owned())));
    let (found, next, _) = page(2, vec![mixed(false)]).await;
    assert_eq!((found.len(), next), (2, Some("id#3".to_owned())));
    let (found, next, _) = page(3, vec![mixed(false)]).await;
    assert_eq!((found.len(), next), (2, None));
    let (found, next, asked) = page(100, vec![mixed(true); 10]).await;
    assert_eq!((found.len(), next, asked.len()), (10, Some("id#2".to_owned()), 5));
    let start = json!({
        "userId": { "S": "user-a" },
        "recordedAt": { "S": "at 2" },
        "paymentId#requestId": { "S": "id#2" },
    });
    assert_eq!(asked[1]["ExclusiveStartKey"], start);
}
