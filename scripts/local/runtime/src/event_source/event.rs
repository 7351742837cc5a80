//! The event that Lambda makes of a batch of messages.

use std::collections::{BTreeMap, VecDeque};

use axum::body::Bytes;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use queue::{AttributeValue, MessageAttribute, Received};
use serde::Serialize;
use tokio::time::Instant;

/// The largest event, in bytes, as in Lambda.
pub(super) const EVENT_BYTES_MAX: usize = 6 * 1024 * 1024;

const EVENT_HEAD: &[u8] = br#"{"Records":["#;
const EVENT_TAIL: &[u8] = b"]}";

/// A received message, already written as the record that the function gets.
#[derive(Debug)]
pub(super) struct PreparedMessage {
    pub(super) message_id: String,
    pub(super) receipt_handle: String,
    pub(super) json: Vec<u8>,
    pub(super) received_at: Instant,
}

/// The oldest messages that fit into one event, at least one.
pub(super) fn take_batch(
    waiting: &mut VecDeque<PreparedMessage>,
    batch_size: usize,
) -> Vec<PreparedMessage> {
    let mut bytes = EVENT_HEAD.len() + EVENT_TAIL.len();
    let mut batch = Vec::new();
    while let Some(message) = waiting.front() {
        bytes += message.json.len() + 1;
        if batch.len() == batch_size || (bytes > EVENT_BYTES_MAX && !batch.is_empty()) {
            break;
        }
        batch.extend(waiting.pop_front());
    }
    batch
}

/// The event of a batch.
pub(super) fn event_json(batch: &[PreparedMessage]) -> Bytes {
    let mut event = EVENT_HEAD.to_vec();
    for (position, message) in batch.iter().enumerate() {
        if position > 0 {
            event.push(b',');
        }
        event.extend_from_slice(&message.json);
    }
    event.extend_from_slice(EVENT_TAIL);
    event.into()
}

/// A record of Lambda's SQS event, its keys in Lambda's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventRecord<'a> {
    message_id: &'a str,
    receipt_handle: &'a str,
    body: &'a str,
    attributes: &'a BTreeMap<String, String>,
    message_attributes: BTreeMap<&'a str, EventAttribute<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    md5_of_message_attributes: Option<&'a str>,
    md5_of_body: &'a str,
    event_source: &'a str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'a str,
    aws_region: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventAttribute<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<String>,
    string_list_values: [&'a str; 0],
    binary_list_values: [&'a str; 0],
    data_type: &'a str,
}

impl<'a> From<&'a MessageAttribute> for EventAttribute<'a> {
    fn from(attribute: &'a MessageAttribute) -> Self {
        let (string_value, binary_value) = match &attribute.value {
            AttributeValue::String(text) => (Some(text.as_str()), None),
            AttributeValue::Binary(bytes) => (None, Some(BASE64_STANDARD.encode(bytes))),
        };
        Self {
            string_value,
            binary_value,
            string_list_values: [],
            binary_list_values: [],
            data_type: &attribute.data_type,
        }
    }
}

/// The record of a message that was received from the queue of this ARN.
pub(super) fn record_json(message: &Received, arn: &str) -> Vec<u8> {
    let attributes = message.message_attributes.iter();
    let record = EventRecord {
        message_id: &message.message_id,
        receipt_handle: &message.receipt_handle,
        body: &message.body,
        attributes: &message.attributes,
        message_attributes: attributes.map(|(name, value)| (name.as_str(), value.into())).collect(),
        md5_of_message_attributes: message.md5_of_message_attributes.as_deref(),
        md5_of_body: &message.md5_of_body,
        event_source: "aws:sqs",
        event_source_arn: arn,
        aws_region: "us-east-1",
    };
    serde_json::to_vec(&record).expect("strings and maps of strings are JSON")
}
