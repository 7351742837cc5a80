//! What a client sees.

use std::collections::BTreeMap;

use futures::future::join_all;
use libtest_mimic::Trial;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::trials;
use crate::stack::{Stack, json_of, md5_of, text, until};

pub(crate) fn all() -> Vec<Trial> {
    trials![
        a_submitted_payment_is_stored,
        every_property_is_stored_verbatim,
        a_body_arrives_byte_for_byte_whatever_it_holds,
        a_charset_beside_the_media_type_makes_no_difference,
        what_breaks_the_schema_is_refused_in_the_words_of_api_gateway,
        twenty_identical_submissions_make_one_item,
        another_payment_under_the_same_id_is_refused_and_the_first_one_stays,
        a_payment_for_somebody_else_is_refused_on_record,
        what_the_gateway_cannot_check_is_refused_on_record,
        the_same_id_of_another_user_is_another_payment,
        a_property_of_a_newer_gateway_is_kept,
        submissions_over_the_rate_are_turned_away_and_leave_nothing,
    ]
}

async fn a_submitted_payment_is_stored() {
    let stack = Stack::start().await;
    let payment = stack.payment();
    let accepted = stack.submit(&payment).await;
    let item = stack.stored(&payment).await;
    assert_eq!(text(&item, "_requestId"), accepted.request_id);
    assert_eq!(text(&item, "_messageId"), accepted.message_id);
    assert_eq!(text(&item, "_bodyMd5"), md5_of(&payment.to_string()));
    assert_eq!(item["_amountMinor"].as_n().unwrap(), "1050");
    assert!(text(&item, "_acceptedAt") <= text(&item, "_storedAt"));
    stack.drained().await;
    assert!(stack.records().await.is_empty());
}

async fn every_property_is_stored_verbatim() {
    let stack = Stack::start().await;
    let mut payment: Value =
        serde_json::from_str(include_str!("../../fixtures/payment-v1.json")).unwrap();
    payment["paymentId"] = json!(Uuid::new_v4().to_string());
    payment["userId"] = json!(stack.at("userId"));
    stack.submit(&payment).await;
    let item = stack.stored(&payment).await;
    let stored: BTreeMap<&String, Value> = item
        .iter()
        .filter(|(name, _)| !name.starts_with('_'))
        .map(|(name, value)| (name, json_of(value)))
        .collect();
    assert_eq!(json!(stored), payment);
}

async fn a_body_arrives_byte_for_byte_whatever_it_holds() {
    let stack = Stack::start().await;
    let hostile = [
        "&Action=DeleteQueue",
        "a=b&c=d;e",
        "1 + 1 = 2, 100 % %26 %2B %",
        "O'Brien \"quoted\" \\ / back",
        "$input.body $util.urlEncode($x) ${queue_name}",
        "#set($x = 1) #if(true) #end ## #*comment*#",
        "line\nbreak\r\nand\ttab",
        "🚀 ünï ﷽ שלום \u{202e}right to left",
        "<xml/> <![CDATA[x]]> &amp; &#38;",
        "{\"a\":[1]}",
    ];
    for text in hostile {
        let mut payment = stack.payment();
        payment["description"] = json!(text);
        // Spaces, escapes and order are the client's own: they count for the bytes.
        for body in [payment.to_string(), serde_json::to_string_pretty(&payment).unwrap()] {
            stack.submit_bytes(&body).await;
        }
        let item = stack.stored(&payment).await;
        assert_eq!(item["description"].as_s().unwrap(), text);
    }
    let payment = stack.payment();
    let escaped = payment.to_string().replace("Invoice", "\\u0049nvoice\\u0026\\/\\n");
    stack.submit_bytes(&escaped).await;
    let item = stack.stored(&payment).await;
    assert_eq!(item["description"].as_s().unwrap(), "Invoice&/\n 4711");
}

async fn a_charset_beside_the_media_type_makes_no_difference() {
    let stack = Stack::start().await;
    let put = async |media_type: &str, body: &Value| {
        let request = stack.http().put(format!("{}/submit", stack.at("api")));
        let request = request.bearer_auth(stack.at("token")).header("content-type", media_type);
        request.body(body.to_string()).send().await.unwrap().status()
    };
    for media_type in [
        "application/json; charset=utf-8",
        "application/json;charset=utf-8",
        "application/json; charset=UTF-8",
        "application/json;charset=UTF-8",
    ] {
        let payment = stack.payment();
        assert_eq!(put(media_type, &payment).await, StatusCode::OK, "{media_type}");
        stack.stored(&payment).await;
        assert_eq!(put(media_type, &json!({})).await, StatusCode::BAD_REQUEST, "{media_type}");
    }
    let plain = put("text/plain; charset=utf-8", &stack.payment()).await;
    assert_eq!(plain, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

async fn what_breaks_the_schema_is_refused_in_the_words_of_api_gateway() {
    let stack = Stack::start().await;
    let token = stack.at("token");
    let mut payment = stack.payment();
    payment.as_object_mut().unwrap().remove("amount");
    payment["unknown"] = json!(1);
    let unknown =
        "object instance has properties which are not allowed by the schema: [\"unknown\"]";
    let missing = "object has missing required properties ([\"amount\"])";
    let mut long = stack.payment();
    long["endToEndIdentification"] = json!("x".repeat(36));
    let too_long =
        format!("string \"{}\" is too long (length: 36, maximum allowed: 35)", "x".repeat(36));
    for (body, sentences) in [
        (String::new(), "Unknown error parsing request body".to_owned()),
        (payment.to_string(), format!("{unknown}, {missing}")),
        (long.to_string(), too_long),
    ] {
        let answer = stack.put(token, body).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(answer["code"], "invalid_body");
        assert_eq!(answer["message"], format!("[{sentences}]"));
    }
}

async fn twenty_identical_submissions_make_one_item() {
    let stack = Stack::start().await;
    let payment = stack.payment();
    let accepted = join_all((0..20).map(|_| stack.submit(&payment))).await;
    stack.drained().await;
    assert_eq!(stack.stored_count().await, 1);
    let item = stack.stored(&payment).await;
    let stored_by = text(&item, "_requestId");
    assert_eq!(accepted.iter().filter(|one| one.request_id == stored_by).count(), 1);
    let kinds: Vec<_> =
        stack.records().await.iter().map(|it| text(it, "kind").to_owned()).collect();
    assert_eq!(kinds, ["duplicate"; 19], "each of the others can be asked for");
}

async fn another_payment_under_the_same_id_is_refused_and_the_first_one_stays() {
    let stack = Stack::start().await;
    let payment = stack.payment();
    stack.submit(&payment).await;
    let first = stack.stored(&payment).await;
    let mut other = payment.clone();
    other["amount"] = json!("10.51");
    other["description"] = json!("Invoice 4712");
    let accepted = stack.submit(&other).await;
    let record = stack.record_of(&accepted.request_id).await;
    assert_eq!((text(&record, "kind"), text(&record, "reason")), ("refused", "conflict"));
    assert_eq!(json_of(&record["fields"]), json!(["amount", "description"]));
    assert_eq!(text(&record, "body"), other.to_string());
    assert_eq!(stack.stored(&payment).await, first);
}

async fn a_payment_for_somebody_else_is_refused_on_record() {
    let stack = Stack::start().await;
    let mut payment = stack.payment();
    payment["userId"] = json!(Uuid::new_v4().to_string());
    let accepted = stack.submit(&payment).await;
    let record = stack.record_of(&accepted.request_id).await;
    assert_eq!(text(&record, "reason"), "owner_mismatch");
    assert_eq!(text(&record, "userId"), stack.at("userId"), "under the token's subject");
    assert_eq!(stack.item(&payment).await, None);
}

async fn what_the_gateway_cannot_check_is_refused_on_record() {
    let stack = Stack::start().await;
    let account = |scheme: &str, identification: &str| json!({ "creditorAccount": { "schemeName": scheme, "identification": identification } });
    let identification = "creditorAccount.identification";
    for (properties, field) in [
        (json!({ "amount": "0.00" }), "amount"),
        (json!({ "amount": "10.505" }), "amount"),
        (json!({ "currency": "XXX" }), "currency"),
        (json!({ "currency": "HRK" }), "currency"),
        (json!({ "currency": "CLF" }), "currency"),
        (json!({ "requestedExecutionDate": "2026-02-30" }), "requestedExecutionDate"),
        (json!({ "requestedExecutionDate": "2020-01-01" }), "requestedExecutionDate"),
        (json!({ "remittanceInformation": {} }), "remittanceInformation"),
        (account("UK.OBIE.IBAN", "GB881"), identification),
        (account("UK.OBIE.IBAN", "ZZ191234"), identification),
        (account("UK.OBIE.IBAN", "gb33bukb20201555555555"), identification),
    ] {
        let mut payment = stack.payment();
        payment.as_object_mut().unwrap().extend(properties.as_object().unwrap().clone());
        let accepted = stack.submit(&payment).await;
        let record = stack.record_of(&accepted.request_id).await;
        assert_eq!((text(&record, "kind"), text(&record, "reason")), ("refused", "invalid"));
        assert_eq!(json_of(&record["fields"]), json!([field]));
        assert_eq!(stack.item(&payment).await, None);
    }
    for properties in [
        account("UK.OBIE.PAN", "4000056655665556"),
        json!({ "requestedExecutionDate": "0000-01-01" }),
        json!({ "description": "r\u{fffd}sum\u{fffd}" }),
    ] {
        let mut payment = stack.payment();
        payment.as_object_mut().unwrap().extend(properties.as_object().unwrap().clone());
        let answer = stack.put(stack.at("token"), payment.to_string()).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{properties}");
    }
    // Straight on the queue, as the gateway would have vouched for it: what is no JSON object.
    let user = stack.at("userId").to_owned();
    for (number, body) in ["[1]", "{", "{}{}", r#"{"a":1,"a":2}"#].into_iter().enumerate() {
        let request = format!("request-{number}");
        stack.send(body, &[("sub", &user), ("requestId", &request)]).await;
        let record = stack.record_of(&request).await;
        assert_eq!(text(&record, "reason"), "malformed", "{body}");
        assert_eq!(text(&record, "paymentId#requestId"), format!("-#{request}"));
        assert_eq!(text(&record, "body"), body);
    }
}

async fn the_same_id_of_another_user_is_another_payment() {
    let stack = Stack::start().await;
    let payment = stack.payment();
    stack.submit(&payment).await;
    let first = stack.stored(&payment).await;
    let user = Uuid::new_v4().to_string();
    let mut other = payment.clone();
    other["userId"] = json!(user);
    other["amount"] = json!("99");
    let token = stack.token(&["--user", &user]).await;
    let answer = stack.put(&token, other.to_string()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    stack.stored(&other).await;
    assert_eq!(stack.stored(&payment).await, first);
}

async fn a_property_of_a_newer_gateway_is_kept() {
    let stack = Stack::start().await;
    let fixture = include_str!("../../fixtures/payment-from-newer-gateway.json");
    let answer = stack.put(stack.at("token"), fixture).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "this gateway does not know it");
    let payment: Value = serde_json::from_str(fixture).unwrap();
    let user = payment["userId"].as_str().unwrap();
    stack.send(fixture, &[("sub", user), ("schemaVersion", "2")]).await;
    let item = until("it is stored", || stack.item(&payment)).await;
    assert_eq!(item["urgency"].as_s().unwrap(), "high");
    let limits = json_of(&item["fees"])["limits"].clone();
    assert_eq!(limits[1], json!({ "N": "12345678901234567890123456789012345678" }));
    assert_eq!(item["_schemaVersion"].as_n().unwrap(), "2");
}

async fn submissions_over_the_rate_are_turned_away_and_leave_nothing() {
    let stack = Stack::start_with(&["--rate-limit", "1"]).await;
    let payments: Vec<Value> = (0..10).map(|_| stack.payment()).collect();
    let token = stack.at("token");
    let put = async |payment: &Value| stack.put(token, payment.to_string()).await.status();
    let answers = join_all(payments.iter().map(put)).await;
    let accepted = answers.iter().filter(|status| **status == StatusCode::OK).count();
    let refused = answers.iter().filter(|status| **status == StatusCode::TOO_MANY_REQUESTS).count();
    assert!(accepted >= 1 && refused >= 1, "{answers:?}");
    assert_eq!(accepted + refused, payments.len());
    until("what was accepted is stored", || async {
        (stack.stored_count().await == accepted).then_some(())
    })
    .await;
    stack.drained().await;
    assert_eq!(stack.stored_count().await, accepted);
}
