//! The operations of SQS, from the JSON form of a request to the JSON form of its answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::attributes::{
    ACCOUNT, COMPUTED, DELAY, VISIBILITY_TIMEOUT, WAIT_TIME, WITHOUT_EFFECT, arn, name_in,
};
use crate::error::{QueueError, invalid_value};
use crate::handle::Handle;
use crate::message::{
    self, AttributeValue, BATCH_BYTES_MAX, GROUP_ID, Message, TRACE_HEADER, attributes_from_json,
    attributes_to_json,
};
use crate::{Queues, Received};

/// The most entries of a batch call (SQS's quota).
const ENTRIES_MAX: usize = 10;
/// The longest id of a batch entry (SQS's quota).
const ENTRY_ID_BYTES_MAX: usize = 80;
/// Names per page of a listing, and the most that a client may ask for.
const PAGE_MAX: i64 = 1_000;
/// The attribute names that mean every attribute.
const EVERY: [&str; 2] = ["All", ".*"];

type Answer = Result<Value, QueueError>;

/// Runs the operation of this name. A request to a queue's own URL brings the queue in `path`, and
/// one that is traced the trace in its header.
pub(crate) async fn run(
    queues: &Queues,
    action: &str,
    input: Value,
    path: &str,
    trace: Option<&str>,
) -> Answer {
    let request = Request { queues, input, path, trace };
    match action {
        "SendMessage" => request.send_message().await,
        "SendMessageBatch" => request.send_message_batch().await,
        "ReceiveMessage" => request.receive_message().await,
        "DeleteMessage" => request.delete_message().await,
        "DeleteMessageBatch" => request.delete_message_batch().await,
        "ChangeMessageVisibility" => request.change_message_visibility(&request.input).await,
        "ChangeMessageVisibilityBatch" => request.change_message_visibility_batch().await,
        "CreateQueue" => request.create_queue().await,
        "GetQueueUrl" => request.get_queue_url().await,
        "GetQueueAttributes" => request.get_queue_attributes().await,
        "SetQueueAttributes" => request.set_queue_attributes().await,
        "ListQueues" => request.list_queues().await,
        "ListDeadLetterSourceQueues" => request.list_dead_letter_source_queues().await,
        "PurgeQueue" => request.purge_queue().await,
        "DeleteQueue" => request.delete_queue().await,
        "StartMessageMoveTask" => request.start_message_move_task().await,
        "ListMessageMoveTasks" => request.list_message_move_tasks().await,
        "CancelMessageMoveTask" => request.cancel_message_move_task().await,
        "ListQueueTags" | "TagQueue" | "UntagQueue" | "AddPermission" | "RemovePermission" => {
            Err(QueueError::Unsupported(action.to_owned()))
        }
        unknown => Err(QueueError::UnknownAction(unknown.to_owned())),
    }
}

struct Request<'a> {
    queues: &'a Queues,
    input: Value,
    path: &'a str,
    trace: Option<&'a str>,
}

impl Request<'_> {
    /// The name of the queue that the request is about.
    fn queue(&self) -> Result<String, QueueError> {
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

    // Messages.

    async fn send_message(&self) -> Answer {
        let queue = self.queue()?;
        let (message, answer) = self.message(&self.input)?;
        let results = self.queues.send(&queue, vec![message]).await?;
        results.into_iter().collect::<Result<(), _>>()?;
        Ok(answer)
    }

    /// The message in a request or an entry, and the answer that it was sent. The request's header
    /// gives a trace to what has none; the digests are of what stands in the request.
    fn message(&self, input: &Value) -> Result<(Message, Value), QueueError> {
        let mut message = message(input)?;
        let answer = message.sent();
        let trace = self.trace.filter(|trace| !trace.is_empty() && message::legal(trace));
        message.trace = message.trace.or(trace.map(str::to_owned));
        Ok((message, answer))
    }

    async fn send_message_batch(&self) -> Answer {
        let queue = self.queue()?;
        let mut outcomes = Outcomes::default();
        let mut messages = Vec::new();
        let mut answers = Vec::new();
        for (id, entry) in entries(&self.input)? {
            match self.message(entry) {
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
        let results = self.queues.send(&queue, messages).await?;
        for ((id, answer), result) in answers.into_iter().zip(results) {
            outcomes.add(id, result.map(|()| answer));
        }
        Ok(outcomes.answer())
    }

    async fn receive_message(&self) -> Answer {
        let queue = self.queue()?;
        let max = number(&self.input, "MaxNumberOfMessages")?.unwrap_or(1);
        if !(1..=10).contains(&max) {
            let reason = "Must be between 1 and 10, if provided.";
            return Err(invalid_value(max, "MaxNumberOfMessages", reason));
        }
        let visibility_s = within(&self.input, VISIBILITY_TIMEOUT, 43_200)?;
        let wait_s = match within(&self.input, "WaitTimeSeconds", 20)? {
            Some(wait_s) => wait_s,
            None => self.attributes(&queue).await?.number(WAIT_TIME),
        };
        let wait = Duration::from_secs(u64::try_from(wait_s).unwrap_or(0));
        let max = usize::try_from(max).unwrap_or(1);
        let messages = self.queues.receive_for(&queue, max, wait, visibility_s).await?;
        let mut system = texts(&self.input, "AttributeNames");
        system.extend(texts(&self.input, "MessageSystemAttributeNames"));
        let own = texts(&self.input, "MessageAttributeNames");
        if messages.is_empty() {
            return Ok(json!({}));
        }
        let messages = messages.into_iter().map(|message| received(message, &system, &own));
        Ok(json!({"Messages": messages.collect::<Vec<_>>()}))
    }

    async fn delete_message(&self) -> Answer {
        let queue = self.queue()?;
        let handle = text(&self.input, "ReceiptHandle")?;
        self.queues.delete(&queue, vec![handle.to_owned()]).await?;
        Ok(json!({}))
    }

    async fn delete_message_batch(&self) -> Answer {
        let queue = self.queue()?;
        let mut outcomes = Outcomes::default();
        let mut ids = Vec::new();
        let mut handles = Vec::new();
        for (id, entry) in entries(&self.input)? {
            match text(entry, "ReceiptHandle").and_then(Handle::parse) {
                Ok(handle) => {
                    ids.push(id);
                    handles.push(handle);
                }
                Err(error) => outcomes.add(id, Err(error)),
            }
        }
        let contrary = (self.queues.contrary)();
        let delete =
            move |store: &mut crate::store::Store| store.delete(&queue, &handles, contrary);
        let results = self.queues.writer.run(delete).await?;
        for (id, result) in ids.into_iter().zip(results) {
            outcomes.add(id, result.map(|()| json!({})));
        }
        Ok(outcomes.answer())
    }

    async fn change_message_visibility(&self, entry: &Value) -> Answer {
        let queue = self.queue()?;
        let timeout_s = within(entry, VISIBILITY_TIMEOUT, 43_200)?
            .ok_or_else(|| QueueError::MissingParameter(VISIBILITY_TIMEOUT.into()))?;
        let handle = Handle::parse(text(entry, "ReceiptHandle")?)?;
        let contrary = (self.queues.contrary)();
        let change = move |store: &mut crate::store::Store| {
            store.change_visibility(&queue, &handle, timeout_s, contrary)
        };
        self.queues.writer.run(change).await?;
        Ok(json!({}))
    }

    async fn change_message_visibility_batch(&self) -> Answer {
        self.attributes(&self.queue()?).await?;
        let mut outcomes = Outcomes::default();
        for (id, entry) in entries(&self.input)? {
            outcomes.add(id, self.change_message_visibility(entry).await);
        }
        Ok(outcomes.answer())
    }

    // Queues.

    async fn attributes(&self, queue: &str) -> Result<crate::attributes::Attributes, QueueError> {
        let queue = queue.to_owned();
        self.queues.reader.run(move |store| Ok(store.queue(&queue)?.attributes)).await
    }

    async fn create_queue(&self) -> Answer {
        let name = text(&self.input, "QueueName")?.to_owned();
        let tags = [&self.input["tags"], &self.input["Tags"]];
        if tags.iter().any(|tags| tags.as_object().is_some_and(|tags| !tags.is_empty())) {
            return Err(QueueError::Unsupported("A tag".into()));
        }
        let wanted = attributes_of(&self.input)?;
        if wanted.get("FifoQueue").is_some_and(|fifo| fifo == "true") {
            return Err(QueueError::Unsupported("A FIFO queue".into()));
        }
        self.tell_without_effect(&wanted);
        let queue = name.clone();
        self.queues.writer.run(move |store| store.create(&queue, &wanted)).await?;
        self.queues.signals.add(&name);
        Ok(json!({"QueueUrl": self.queues.url(&name)}))
    }

    async fn get_queue_url(&self) -> Answer {
        let name = text(&self.input, "QueueName")?;
        self.attributes(name).await?;
        Ok(json!({"QueueUrl": self.queues.url(name)}))
    }

    async fn get_queue_attributes(&self) -> Answer {
        let name = self.queue()?;
        let wanted = texts(&self.input, "AttributeNames");
        let lookup = name.clone();
        let queue = self.queues.reader.run(move |store| store.queue(&lookup)).await?;
        let mut all = queue.attributes.0;
        let counted = wanted.iter().any(|name| name == "All" || COMPUTED[..3].contains(&&**name));
        if counted {
            let counts = self.queues.counts(&name).await?;
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

    async fn set_queue_attributes(&self) -> Answer {
        let queue = self.queue()?;
        let changes = attributes_of(&self.input)?;
        if changes.is_empty() {
            return Err(QueueError::MissingParameter("Attribute.Name".into()));
        }
        self.tell_without_effect(&changes);
        self.queues.writer.run(move |store| store.set_attributes(&queue, &changes)).await?;
        Ok(json!({}))
    }

    /// Says once of attributes that are kept and returned that nothing else comes of them.
    fn tell_without_effect(&self, changes: &BTreeMap<String, String>) {
        let is_set = |name: &&&str| changes.get(**name).is_some_and(|value| !value.is_empty());
        if let Some(attribute) = WITHOUT_EFFECT.iter().find(is_set) {
            self.queues.told.call_once(|| {
                tracing::warn!(
                    attribute,
                    "the local queue keeps Policy and KMS attributes and does not apply them"
                );
            });
        }
    }

    async fn list_queues(&self) -> Answer {
        let prefix = self.input["QueueNamePrefix"].as_str().unwrap_or_default().to_owned();
        let names = self.queues.reader.run(move |store| store.names(&prefix)).await?;
        self.page(names, "QueueUrls")
    }

    async fn list_dead_letter_source_queues(&self) -> Answer {
        let queue = self.queue()?;
        let names = self.queues.reader.run(move |store| store.sources_of(&queue)).await?;
        // The one member of SQS's model that begins with a small letter.
        let mut answer = self.page(names, "queueUrls")?;
        if answer["queueUrls"].is_null() {
            answer["queueUrls"] = json!([]);
        }
        Ok(answer)
    }

    /// One page of queue URLs. The token for the next page is the last name of this one.
    fn page(&self, mut names: Vec<String>, member: &str) -> Answer {
        let asked = number(&self.input, "MaxResults")?;
        let max = asked.unwrap_or(PAGE_MAX);
        if !(1..=PAGE_MAX).contains(&max) {
            return Err(invalid_value(max, "MaxResults", "Must be between 1 and 1000."));
        }
        if let Some(token) = self.input["NextToken"].as_str() {
            let last =
                URL_SAFE_NO_PAD.decode(token).ok().and_then(|name| String::from_utf8(name).ok());
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
            let urls = names.iter().map(|name| self.queues.url(name));
            answer.insert(member.to_owned(), urls.collect::<Vec<_>>().into());
        }
        Ok(Value::Object(answer))
    }

    async fn purge_queue(&self) -> Answer {
        let queue = self.queue()?;
        self.queues.writer.run(move |store| store.purge(&queue)).await?;
        Ok(json!({}))
    }

    async fn delete_queue(&self) -> Answer {
        let queue = self.queue()?;
        self.queues.writer.run(move |store| store.delete_queue(&queue)).await?;
        Ok(json!({}))
    }

    // Move tasks.

    async fn start_message_move_task(&self) -> Answer {
        let source = queue_of_arn(text(&self.input, "SourceArn")?, "SourceArn")?;
        let destination = match self.input["DestinationArn"].as_str() {
            Some(arn) => Some(queue_of_arn(arn, "DestinationArn")?),
            None => None,
        };
        let rate = number(&self.input, "MaxNumberOfMessagesPerSecond")?;
        let start = move |store: &mut crate::store::Store| {
            store.start_move(&source, destination.as_deref(), rate)
        };
        Ok(json!({"TaskHandle": self.queues.writer.run(start).await?}))
    }

    async fn list_message_move_tasks(&self) -> Answer {
        let source = queue_of_arn(text(&self.input, "SourceArn")?, "SourceArn")?;
        let max = number(&self.input, "MaxResults")?.unwrap_or(1);
        if !(1..=10).contains(&max) {
            return Err(invalid_value(max, "MaxResults", "Must be between 1 and 10."));
        }
        let tasks = self.queues.reader.run(move |store| store.list_moves(&source, max)).await?;
        Ok(json!({"Results": tasks}))
    }

    async fn cancel_message_move_task(&self) -> Answer {
        let handle = text(&self.input, "TaskHandle")?.to_owned();
        let moved = self.queues.writer.run(move |store| store.cancel_move(&handle)).await?;
        Ok(json!({"ApproximateNumberOfMessagesMoved": moved}))
    }
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

/// The entries of a batch by id, checked by SQS's rules for batches, in SQS's order.
fn entries(input: &Value) -> Result<Vec<(&str, &Value)>, QueueError> {
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

fn is_attribute(name: &str) -> bool {
    const FIFO_ONLY: [&str; 4] =
        ["FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"];
    name == "All"
        || FIFO_ONLY.contains(&name)
        || COMPUTED.contains(&name)
        || crate::attributes::is_settable(name)
}

fn attributes_of(input: &Value) -> Result<BTreeMap<String, String>, QueueError> {
    let Some(attributes) = input["Attributes"].as_object() else {
        return Ok(BTreeMap::new());
    };
    let entry = |(name, value): (&String, &Value)| {
        let text = value.as_str().ok_or(QueueError::Malformed)?;
        Ok((name.clone(), text.to_owned()))
    };
    attributes.iter().map(entry).collect()
}

fn queue_of_arn(arn: &str, parameter: &str) -> Result<String, QueueError> {
    if !arn.starts_with("arn:") || arn.split(':').count() != 6 {
        return Err(QueueError::InvalidParameter(format!(
            "You must use this format to specify the {parameter}: \
             arn:<partition>:<service>:<region>:<account-id>:<resource-id>"
        )));
    }
    // A queue of another account or region is one that does not exist here.
    Ok(name_in(arn).unwrap_or_default().to_owned())
}

fn text<'a>(input: &'a Value, name: &str) -> Result<&'a str, QueueError> {
    let text = input[name].as_str().filter(|text| !text.is_empty());
    text.ok_or_else(|| QueueError::MissingParameter(name.to_owned()))
}

fn texts(input: &Value, name: &str) -> Vec<String> {
    let list = input[name].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A number; the query protocol sends it as text.
fn number(input: &Value, name: &str) -> Result<Option<i64>, QueueError> {
    match &input[name] {
        Value::Null => Ok(None),
        Value::String(digits) => digits.parse().map(Some).map_err(|_| QueueError::Malformed),
        other => other.as_i64().map(Some).ok_or(QueueError::Malformed),
    }
}

/// A number from 0 to `max`.
fn within(input: &Value, name: &str, max: i64) -> Result<Option<i64>, QueueError> {
    match number(input, name)? {
        Some(number) if !(0..=max).contains(&number) => {
            let reason = format!("Must be >= 0 and <= {max}, if provided.");
            Err(invalid_value(number, name, &reason))
        }
        valid => Ok(valid),
    }
}
