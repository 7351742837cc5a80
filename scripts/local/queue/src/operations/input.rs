//! What an operation is given: the queue it is about, its parameters, the entries of a batch.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::attributes::{ACCOUNT, Attributes, name_in};
use crate::error::{QueueError, invalid_value};
use crate::queues::Queues;

/// The most entries of a batch call (SQS's quota).
const ENTRIES_MAX: usize = 10;
/// The longest id of a batch entry (SQS's quota).
const ENTRY_ID_BYTES_MAX: usize = 80;

/// What an operation answers, in the JSON form.
pub(super) type Answer = Result<Value, QueueError>;

/// One call of an operation.
pub(super) struct Request<'a> {
    pub(super) queues: &'a Queues,
    pub(super) input: Value,
    /// The path that was called: a queue's own URL names the queue.
    pub(super) path: &'a str,
    /// The trace in the call's header.
    pub(super) trace: Option<&'a str>,
}

impl Request<'_> {
    /// The name of the queue that the request is about.
    pub(super) fn queue(&self) -> Result<String, QueueError> {
        let url = self.input["QueueUrl"].as_str().unwrap_or(self.path);
        let mut segments = url.trim_end_matches('/').rsplit('/');
        let name = segments.next().unwrap_or_default();
        if name.is_empty() {
            return Err(QueueError::MissingParameter("QueueUrl".into()));
        }
        match segments.next() {
            Some(ACCOUNT) => Ok(name.to_owned()),
            Some(_) | None => Err(QueueError::NoSuchQueue),
        }
    }

    /// The attributes of the queue of this name.
    pub(super) async fn attributes(&self, queue: &str) -> Result<Attributes, QueueError> {
        let queue = queue.to_owned();
        self.queues.reader.run(move |store| Ok(store.queue(&queue)?.attributes)).await
    }
}

/// The entries of a batch by id, checked by SQS's rules for batches, in SQS's order.
pub(super) fn entries(input: &Value) -> Result<Vec<(&str, &Value)>, QueueError> {
    let entries = input["Entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() {
        return Err(QueueError::EmptyBatch);
    }
    if entries.len() > ENTRIES_MAX {
        return Err(QueueError::TooManyEntries(entries.len()));
    }
    let mut seen = BTreeSet::new();
    let mut by_id = Vec::with_capacity(entries.len());
    for entry in entries {
        let id = entry["Id"].as_str().unwrap_or_default();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if id.is_empty() || id.len() > ENTRY_ID_BYTES_MAX || !id.bytes().all(legal) {
            return Err(QueueError::InvalidEntryId);
        }
        if !seen.insert(id) {
            return Err(QueueError::IdsNotDistinct(id.to_owned()));
        }
        by_id.push((id, entry));
    }
    Ok(by_id)
}

/// The queue attributes in a request.
pub(super) fn attributes_of(input: &Value) -> Result<BTreeMap<String, String>, QueueError> {
    let Some(attributes) = input["Attributes"].as_object() else {
        return Ok(BTreeMap::new());
    };
    let entry = |(name, value): (&String, &Value)| {
        let text = value.as_str().ok_or(QueueError::Malformed)?;
        Ok((name.clone(), text.to_owned()))
    };
    attributes.iter().map(entry).collect()
}

/// The name in the ARN that is this parameter.
pub(super) fn queue_of_arn(arn: &str, parameter: &str) -> Result<String, QueueError> {
    if !arn.starts_with("arn:") || arn.split(':').count() != 6 {
        return Err(QueueError::InvalidParameter(format!(
            "You must use this format to specify the {parameter}: \
             arn:<partition>:<service>:<region>:<account-id>:<resource-id>"
        )));
    }
    // A queue of another account or region is one that does not exist here.
    Ok(name_in(arn).unwrap_or_default().to_owned())
}

/// A required text.
pub(super) fn text<'a>(input: &'a Value, name: &str) -> Result<&'a str, QueueError> {
    let text = input[name].as_str().filter(|text| !text.is_empty());
    text.ok_or_else(|| QueueError::MissingParameter(name.to_owned()))
}

/// A list of texts; those that are absent are none.
pub(super) fn texts(input: &Value, name: &str) -> Vec<String> {
    let list = input[name].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A number; the query protocol sends it as text.
pub(super) fn number(input: &Value, name: &str) -> Result<Option<i64>, QueueError> {
    match &input[name] {
        Value::Null => Ok(None),
        Value::String(digits) => digits.parse().map(Some).map_err(|_| QueueError::Malformed),
        other => other.as_i64().map(Some).ok_or(QueueError::Malformed),
    }
}

/// A number from 0 to `max`.
pub(super) fn within(input: &Value, name: &str, max: i64) -> Result<Option<i64>, QueueError> {
    match number(input, name)? {
        Some(number) if !(0..=max).contains(&number) => {
            let reason = format!("Must be >= 0 and <= {max}, if provided.");
            Err(invalid_value(number, name, &reason))
        }
        valid => Ok(valid),
    }
}
