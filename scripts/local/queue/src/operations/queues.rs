//! Operations on queues.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::input::{Answer, Request, attributes_of, number, text, texts};
use crate::attributes::{COMPUTED, WITHOUT_EFFECT, arn, is_settable};
use crate::error::{QueueError, invalid_value};

/// Names per page of a listing, and the most that a client may ask for.
const PAGE_MAX: i64 = 1_000;

pub(super) async fn create(request: &Request<'_>) -> Answer {
    let name = text(&request.input, "QueueName")?.to_owned();
    let tags = [&request.input["tags"], &request.input["Tags"]];
    if tags.iter().any(|tags| tags.as_object().is_some_and(|tags| !tags.is_empty())) {
        return Err(QueueError::Unsupported("A tag".into()));
    }
    let wanted = attributes_of(&request.input)?;
    if wanted.get("FifoQueue").is_some_and(|fifo| fifo == "true") {
        return Err(QueueError::Unsupported("A FIFO queue".into()));
    }
    tell_without_effect(request, &wanted);
    let queue = name.clone();
    request.queues.writer.run(move |store| store.create(&queue, &wanted)).await?;
    request.queues.signals.add(&name);
    Ok(json!({"QueueUrl": request.queues.url(&name)}))
}

pub(super) async fn get_url(request: &Request<'_>) -> Answer {
    let name = text(&request.input, "QueueName")?;
    request.attributes(name).await?;
    Ok(json!({"QueueUrl": request.queues.url(name)}))
}

pub(super) async fn get_attributes(request: &Request<'_>) -> Answer {
    let name = request.queue()?;
    let wanted = texts(&request.input, "AttributeNames");
    let lookup = name.clone();
    let queue = request.queues.reader.run(move |store| store.queue(&lookup)).await?;
    let mut all = queue.attributes.0;
    let counted = wanted.iter().any(|name| name == "All" || COMPUTED[..3].contains(&&**name));
    if counted {
        let counts = request.queues.counts(&name).await?;
        let counts = [counts.visible, counts.delayed, counts.in_flight];
        let counts = counts.map(|count| count.to_string());
        all.extend(COMPUTED.into_iter().map(str::to_owned).zip(counts));
    }
    all.insert("CreatedTimestamp".into(), (queue.created_ms / 1_000).to_string());
    all.insert("LastModifiedTimestamp".into(), (queue.modified_ms / 1_000).to_string());
    all.insert("QueueArn".into(), arn(&name));
    if let Some(unknown) = wanted.iter().find(|name| !is_attribute(name)) {
        return Err(QueueError::UnknownAttribute(unknown.clone()));
    }
    all.retain(|name, _| wanted.iter().any(|wanted| wanted == "All" || wanted == name));
    Ok(if all.is_empty() { json!({}) } else { json!({"Attributes": all}) })
}

pub(super) async fn set_attributes(request: &Request<'_>) -> Answer {
    let queue = request.queue()?;
    let changes = attributes_of(&request.input)?;
    if changes.is_empty() {
        return Err(QueueError::MissingParameter("Attribute.Name".into()));
    }
    tell_without_effect(request, &changes);
    request.queues.writer.run(move |store| store.set_attributes(&queue, &changes)).await?;
    Ok(json!({}))
}

pub(super) async fn list(request: &Request<'_>) -> Answer {
    let prefix = request.input["QueueNamePrefix"].as_str().unwrap_or_default().to_owned();
    let names = request.queues.reader.run(move |store| store.names(&prefix)).await?;
    page(request, names, "QueueUrls")
}

pub(super) async fn list_sources(request: &Request<'_>) -> Answer {
    let queue = request.queue()?;
    let names = request.queues.reader.run(move |store| store.sources_of(&queue)).await?;
    // The one member of SQS's model that begins with a small letter.
    let mut answer = page(request, names, "queueUrls")?;
    if answer["queueUrls"].is_null() {
        answer["queueUrls"] = json!([]);
    }
    Ok(answer)
}

pub(super) async fn purge(request: &Request<'_>) -> Answer {
    let queue = request.queue()?;
    request.queues.writer.run(move |store| store.purge(&queue)).await?;
    Ok(json!({}))
}

pub(super) async fn delete(request: &Request<'_>) -> Answer {
    let queue = request.queue()?;
    request.queues.writer.run(move |store| store.delete_queue(&queue)).await?;
    Ok(json!({}))
}

/// Warns, once, that some attributes are kept and returned and have no other effect.
fn tell_without_effect(request: &Request<'_>, changes: &BTreeMap<String, String>) {
    let is_set = |name: &&&str| changes.get(**name).is_some_and(|value| !value.is_empty());
    if let Some(attribute) = WITHOUT_EFFECT.iter().find(is_set) {
        request.queues.told.call_once(|| {
            tracing::warn!(
                attribute,
                "the local queue keeps Policy and KMS attributes and does not apply them"
            );
        });
    }
}

/// One page of queue URLs. The token for the next page is the last name of this one.
fn page(request: &Request<'_>, mut names: Vec<String>, member: &str) -> Answer {
    let asked = number(&request.input, "MaxResults")?;
    let max = asked.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&max) {
        return Err(invalid_value(max, "MaxResults", "Must be between 1 and 1000."));
    }
    if let Some(token) = request.input["NextToken"].as_str() {
        let last = URL_SAFE_NO_PAD.decode(token).ok().and_then(|name| String::from_utf8(name).ok());
        let last = last.ok_or_else(|| invalid_value(token, "NextToken", "Not a token."))?;
        names.retain(|name| *name > last);
    }
    let max = usize::try_from(max).unwrap_or(names.len());
    let has_more = names.len() > max;
    names.truncate(max);
    let mut answer = Map::new();
    // Without MaxResults SQS gives no token either.
    if let Some(last) = names.last().filter(|_| has_more && asked.is_some()) {
        answer.insert("NextToken".into(), URL_SAFE_NO_PAD.encode(last).into());
    }
    if !names.is_empty() {
        let urls = names.iter().map(|name| request.queues.url(name));
        answer.insert(member.to_owned(), urls.collect::<Vec<_>>().into());
    }
    Ok(Value::Object(answer))
}

fn is_attribute(name: &str) -> bool {
    const FIFO_ONLY: [&str; 4] =
        ["FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"];
    name == "All" || FIFO_ONLY.contains(&name) || COMPUTED.contains(&name) || is_settable(name)
}
