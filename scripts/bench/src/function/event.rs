//! Events as the queue's mapping hands them over, with payments of about 500 bytes.

use hyper::body::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

/// The most bytes that an event holds (AWS Lambda Developer Guide, "Lambda quotas": 6 MB of invocation
/// payload).
const EVENT_BYTES_MAX: usize = 6 * 1024 * 1024;

const USER: &str = "5f2c8d34-1b7e-4e0a-8c55-90d1e2f3a4b5";

/// An event of so many records, each with a payment of its own.
pub(crate) fn event(records: usize) -> Bytes {
    let records: Vec<Value> = (0..records).map(|_| record()).collect();
    json!({ "Records": records }).to_string().into()
}

/// Records of the largest event.
pub(crate) fn records_max() -> usize {
    let (none, one, two) = (event(0).len(), event(1).len(), event(2).len());
    // Each but the first has a comma before it.
    (EVENT_BYTES_MAX - one) / (two - one) + usize::from(one > none)
}

fn record() -> Value {
    let message_id = Uuid::new_v4().to_string();
    let text = |value: &str| {
        json!({
            "stringValue": value,
            "stringListValues": [],
            "binaryListValues": [],
            "dataType": "String",
        })
    };
    json!({
        "messageId": message_id,
        // As long as SQS's are about.
        "receiptHandle": format!("AQEB{}", "wJnKyrHigUMZj6rYigCgxlaS3SLy0a".repeat(4)),
        "body": payment(),
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1790000000123",
            "SenderId": "AROAEXAMPLE:BackplaneAssumeRoleSession",
            "ApproximateFirstReceiveTimestamp": "1790000000130",
        },
        "messageAttributes": {
            "sub": text(USER),
            "requestId": text("JKJaXmPLvHcESHA="),
            "acceptedAt": text("1790000000100"),
            "schemaVersion": text("1"),
        },
        "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-2:000000000000:submit-payment-queue",
        "awsRegion": "eu-west-2",
    })
}

fn payment() -> String {
    json!({
        "paymentId": Uuid::new_v4().to_string(),
        "userId": USER,
        "amount": "1234.50",
        "currency": "GBP",
        "description": "Invoice 4711 of 20 November",
        "creditorAccount": {
            "schemeName": "UK.OBIE.IBAN",
            "identification": "GB33BUKB20201555555555",
            "name": "Ada Lovelace",
        },
        "endToEndIdentification": "INV-4711",
        "instructionIdentification": "APP-2026-11-20-1",
        "remittanceInformation": {
            "unstructured": ["Goods delivered in October"],
            "reference": "RF18539007547034",
        },
        "requestedExecutionDate": "2026-12-24",
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_event_fills_what_an_invocation_may_carry() {
        let most = records_max();
        assert!(event(most).len() <= EVENT_BYTES_MAX);
        assert!(event(most + 1).len() > EVENT_BYTES_MAX);
    }

    #[test]
    fn every_payment_is_valid_and_its_own() {
        let event: Value = serde_json::from_slice(&event(2)).unwrap();
        let body = |index: usize| event["Records"][index]["body"].as_str().unwrap();
        assert_ne!(body(0), body(1));
        assert!((450..=550).contains(&body(0).len()), "{}", body(0).len());
        for name in ["sub", "requestId", "acceptedAt", "schemaVersion"] {
            assert!(event["Records"][0]["messageAttributes"][name]["stringValue"].is_string());
        }
    }
}
