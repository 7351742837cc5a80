//! Operations on messages, one by one and in batches.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::input::{Answer, Request, entries, number, text, texts, within};
use crate::attributes::{DELAY, VISIBILITY_TIMEOUT, WAIT_TIME};
use crate::error::{BATCH_BYTES_MAX, QueueError, invalid_value};
use crate::handle::Handle;
use crate::message::{
    self, AttributeValue, GROUP_ID, Message, Received, TRACE_HEADER, attributes_from_json,
    attributes_to_json,
};
use crate::store::Store;

/// The attribute names that mean every attribute.
const EVERY: [&str; 2] = ["All", ".*"];

pub(super) async fn send(request: &Request<'_>) -> Answer {
    let queue = request.queue()?;
    let (message, answer) = traced(request, &request.input)?;
    let results = request.queues.send(&queue, vec![message]).await?;
    results.into_iter().collect::<Result<(), _>>()?;
    Ok(answer)
}

pub(super) async fn send_batch(request: &Request<'_>) -> Answer {
    let queue = request.queue()?;
    let mut outcomes = Outcomes::default();
    let mut messages = Vec::new();
    let mut answers = Vec::new();
    for (id, entry) in entries(&request.input)? {
        match traced(request, entry) {
            Ok((message, answer)) => {
                answers.push((id, answer));
                messages.push(message);
            }
            Err(error) => outcomes.add(id, Err(error)),
        }
    }
    let bytes = messages.iter().map(Message::bytes).sum();
    if bytes > BATCH_BYTES_MAX {
        return Err(QueueError::BatchTooLong(bytes));
    }
    let results = request.queues.send(&queue, messages).await?;
    for ((id, answer), result) in answers.into_iter().zip(results) {
        outcomes.add(id, result.map(|()| answer));
    }
    Ok(outcomes.answer())
}

pub(super) async fn receive(request: &Request<'_>) -> Answer {
    let queue = request.queue()?;
    let max = number(&request.input, "MaxNumberOfMessages")?.unwrap_or(1);
    if !(1..=10).contains(&max) {
        let reason = "Must be between 1 and 10, if provided.";
        return Err(invalid_value(max, "MaxNumberOfMessages", reason));
    }
    let visibility_s = within(&request.input, VISIBILITY_TIMEOUT, 43_200)?;
    let wait_s = match within(&request.input, "WaitTimeSeconds", 20)? {
        Some(wait_s) => wait_s,
        None => request.attributes(&queue).await?.number(WAIT_TIME),
    };
    let wait = Duration::from_secs(u64::try_from(wait_s).unwrap_or(0));
    let max = usize::try_from(max).unwrap_or(1);
    let messages = request.queues.receive_for(&queue, max, wait, visibility_s).await?;
    let mut system = texts(&request.input, "AttributeNames");
    system.extend(texts(&request.input, "MessageSystemAttributeNames"));
    let own = texts(&request.input, "MessageAttributeNames");
    if messages.is_empty() {
        return Ok(json!({}));
    }
    let messages = messages.into_iter().map(|message| received(message, &system, &own));
    Ok(json!({"Messages": messages.collect::<Vec<_>>()}))
}

pub(super) async fn delete(request: &Request<'_>) -> Answer {
    let queue = request.queue()?;
    let handle = text(&request.input, "ReceiptHandle")?;
    request.queues.delete(&queue, vec![handle.to_owned()]).await?;
    Ok(json!({}))
}

pub(super) async fn delete_batch(request: &Request<'_>) -> Answer {
    let queue = request.queue()?;
    let mut outcomes = Outcomes::default();
    let mut ids = Vec::new();
    let mut handles = Vec::new();
    for (id, entry) in entries(&request.input)? {
        match text(entry, "ReceiptHandle").and_then(Handle::parse) {
            Ok(handle) => {
                ids.push(id);
                handles.push(handle);
            }
            Err(error) => outcomes.add(id, Err(error)),
        }
    }
    let contrary = (request.queues.contrary)();
    let delete = move |store: &mut Store| store.delete(&queue, &handles, contrary);
    let results = request.queues.writer.run(delete).await?;
    for (id, result) in ids.into_iter().zip(results) {
        outcomes.add(id, result.map(|()| json!({})));
    }
    Ok(outcomes.answer())
}

pub(super) async fn change_visibility(request: &Request<'_>, entry: &Value) -> Answer {
    let queue = request.queue()?;
    let timeout_s = within(entry, VISIBILITY_TIMEOUT, 43_200)?
        .ok_or_else(|| QueueError::MissingParameter(VISIBILITY_TIMEOUT.into()))?;
    let handle = Handle::parse(text(entry, "ReceiptHandle")?)?;
    let contrary = (request.queues.contrary)();
    let change =
        move |store: &mut Store| store.change_visibility(&queue, &handle, timeout_s, contrary);
    request.queues.writer.run(change).await?;
    Ok(json!({}))
}

pub(super) async fn change_visibility_batch(request: &Request<'_>) -> Answer {
    request.attributes(&request.queue()?).await?;
    let mut outcomes = Outcomes::default();
    for (id, entry) in entries(&request.input)? {
        outcomes.add(id, change_visibility(request, entry).await);
    }
    Ok(outcomes.answer())
}

/// The message in a request or an entry, and the answer that it was sent. The request's header
/// gives a trace to what has none; the digests are of what stands in the request.
fn traced(request: &Request<'_>, input: &Value) -> Result<(Message, Value), QueueError> {
    let mut message = message(input)?;
    let answer = message.sent();
    let trace = request.trace.filter(|trace| !trace.is_empty() && message::legal(trace));
    message.trace = message.trace.or(trace.map(str::to_owned));
    Ok((message, answer))
}

/// The message in a request to send it, or in an entry of a batch.
fn message(input: &Value) -> Result<Message, QueueError> {
    let attributes = match input["MessageAttributes"].as_object() {
        Some(attributes) => attributes_from_json(attributes)?,
        None => BTreeMap::new(),
    };
    let body = input["MessageBody"].as_str().unwrap_or_default();
    let mut message = Message::new(body.to_owned(), attributes)?;
    if let Some(group) = input[GROUP_ID].as_str() {
        message = message.in_group(group)?;
    }
    message.delay_s = within(input, DELAY, 900)?;
    if let Some(system) = input["MessageSystemAttributes"].as_object() {
        for (name, attribute) in attributes_from_json(system)? {
            message.trace = match (name.as_str(), attribute.value) {
                (TRACE_HEADER, AttributeValue::String(trace)) if message::legal(&trace) => {
                    Some(trace)
                }
                _ => {
                    return Err(QueueError::InvalidParameter(format!(
                        "Message system attribute name '{name}' is invalid."
                    )));
                }
            };
        }
    }
    Ok(message)
}

/// A received message with those of its attributes that were asked for.
fn received(message: Received, system: &[String], own: &[String]) -> Value {
    let mut answer = json!({
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt_handle,
        "MD5OfBody": message.md5_of_body,
        "Body": message.body,
    });
    let mut attributes = message.attributes;
    attributes.retain(|name, _| system.iter().any(|wanted| wanted == "All" || wanted == name));
    if !attributes.is_empty() {
        answer["Attributes"] = json!(attributes);
    }
    let mut own_attributes = message.message_attributes;
    own_attributes.retain(|name, _| own.iter().any(|wanted| matches(wanted, name)));
    if let Some(digest) = message::md5_of_attributes(&own_attributes) {
        // The digest covers what is returned, so that the client can check it.
        answer["MD5OfMessageAttributes"] = digest.into();
        answer["MessageAttributes"] = attributes_to_json(&own_attributes);
    }
    answer
}

/// Whether a filter of message attributes (`All`, `.*`, `prefix.*` or a name) lets `name` pass.
fn matches(wanted: &str, name: &str) -> bool {
    EVERY.contains(&wanted)
        || wanted == name
        || wanted.strip_suffix(".*").is_some_and(|prefix| name.starts_with(prefix))
}

/// The results of a batch call, entry by entry.
#[derive(Default)]
struct Outcomes {
    successful: Vec<Value>,
    failed: Vec<Value>,
}

impl Outcomes {
    fn add(&mut self, id: &str, result: Answer) {
        match result {
            Ok(mut answer) => {
                answer["Id"] = id.into();
                self.successful.push(answer);
            }
            Err(error) => {
                let spelling = error.spelling();
                self.failed.push(json!({
                    "Id": id,
                    "SenderFault": spelling.status < 500,
                    "Code": spelling.code,
                    "Message": error.to_string(),
                }));
            }
        }
    }

    fn answer(self) -> Value {
        let mut answer = json!({"Successful": self.successful, "Failed": self.failed});
        if let Some(members) = answer.as_object_mut() {
            members.retain(|_, list| list.as_array().is_some_and(|list| !list.is_empty()));
        }
        answer
    }
}
