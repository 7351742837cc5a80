//! SQS over HTTP: the JSON protocol of today's clients, and the query protocol that API Gateway
//! and older clients speak. Both become one JSON form, which [`crate::operations`] answers.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Response, StatusCode, Uri, header};
use serde_json::{Map, Value, json};

use crate::error::QueueError;
use crate::operations;
use crate::queues::Queues;

/// The longest request: a batch of the greatest size, every byte of it escaped in six.
const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The deepest name of a form field: `SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.…`
const FIELD_DEPTH_MAX: usize = 8;
const NAMESPACE: &str = "http://queue.amazonaws.com/doc/2012-11-05/";

/// The lists of the query protocol, `Name.1`, `Name.2` and so on: the name of the fields, and the name of
/// the list in the JSON form.
const LISTS: [(&str, &str); 6] = [
    ("AttributeName", "AttributeNames"),
    ("MessageAttributeName", "MessageAttributeNames"),
    ("MessageSystemAttributeName", "MessageSystemAttributeNames"),
    ("SendMessageBatchRequestEntry", "Entries"),
    ("DeleteMessageBatchRequestEntry", "Entries"),
    ("ChangeMessageVisibilityBatchRequestEntry", "Entries"),
];
/// The maps of the query protocol, `Name.1.Name` with `Name.1.Value` and so on (or `Key` for `Name`): the
/// name of the fields, and the name of the map in the JSON form.
const MAPS: [(&str, &str); 4] = [
    ("Attribute", "Attributes"),
    ("MessageAttribute", "MessageAttributes"),
    ("MessageSystemAttribute", "MessageSystemAttributes"),
    ("Tag", "Tags"),
];

impl Queues {
    /// The HTTP front: SQS's JSON protocol (`X-Amz-Target: AmazonSQS.…`) and its query protocol
    /// (a form; the answer is XML, or JSON where `Accept` asks for it). It serves every path, so that a
    /// queue's URL works as an endpoint, too. Any credentials are accepted.
    pub fn router(&self) -> Router {
        let limit = DefaultBodyLimit::max(REQUEST_BYTES_MAX);
        Router::new().fallback(serve).layer(limit).with_state(self.clone())
    }
}

/// Which form of an answer the client can read.
#[derive(Clone, Copy)]
enum Form {
    /// The JSON protocol.
    Json,
    /// The query protocol, answered in XML.
    QueryXml,
    /// The query protocol, answered in JSON: what API Gateway's integration asks for.
    QueryJson,
}

async fn serve(
    State(queues): State<Queues>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let text = |name: header::HeaderName| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let (form, request) = match target {
        Some(target) => (Form::Json, json_request(target, &body)),
        None if text(header::ACCEPT).contains("application/json") => {
            (Form::QueryJson, query_request(&uri, &body))
        }
        None => (Form::QueryXml, query_request(&uri, &body)),
    };
    let trace = headers.get("x-amzn-trace-id").and_then(|value| value.to_str().ok());
    let request_id = uuid::Uuid::new_v4().to_string();
    let (action, result) = match request {
        Ok((action, input)) => {
            let result = operations::run(&queues, &action, input, uri.path(), trace).await;
            (action, result)
        }
        Err(error) => (String::new(), Err(error)),
    };
    match result {
        Ok(answer) => {
            respond(form, &request_id, 200, None, success(form, &action, answer, &request_id))
        }
        Err(error) => {
            if let QueueError::Storage(source) = &error {
                tracing::error!(error = source as &dyn std::error::Error, action, "queue failed");
            }
            refuse(form, &error, &request_id)
        }
    }
}

fn json_request(target: &str, body: &[u8]) -> Result<(String, Value), QueueError> {
    let Some(action) = target.strip_prefix("AmazonSQS.") else {
        return Err(QueueError::UnknownAction(target.to_owned()));
    };
    match serde_json::from_slice(body) {
        Ok(input @ Value::Object(_)) => Ok((action.to_owned(), input)),
        Ok(_) | Err(_) => Err(QueueError::Malformed),
    }
}

/// Reads a form, from the URL and from the body.
fn query_request(uri: &Uri, body: &[u8]) -> Result<(String, Value), QueueError> {
    let mut tree = Map::new();
    let body = std::str::from_utf8(body).map_err(|_| QueueError::Malformed)?;
    let fields = uri.query().unwrap_or_default().split('&').chain(body.trim_end().split('&'));
    for field in fields.filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        put(&mut tree, &decode(name)?, decode(value)?)?;
    }
    match tree.remove("Action") {
        Some(Value::String(action)) => Ok((action, gather(tree)?)),
        Some(_) | None => Err(QueueError::MissingParameter("Action".into())),
    }
}

fn decode(text: &str) -> Result<String, QueueError> {
    let spaced = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8();
    Ok(decoded.map_err(|_| QueueError::Malformed)?.into_owned())
}

/// Puts a field at its place: `A.1.B=x` becomes `{"A": {"1": {"B": "x"}}}`.
fn put(tree: &mut Map<String, Value>, name: &str, value: String) -> Result<(), QueueError> {
    let mut parts = name.split('.');
    let last = parts.next_back().unwrap_or_default();
    if name.matches('.').count() >= FIELD_DEPTH_MAX {
        return Err(QueueError::Malformed);
    }
    let mut place = tree;
    for part in parts {
        let inner = place.entry(part).or_insert_with(|| json!({}));
        place = inner.as_object_mut().ok_or(QueueError::Malformed)?;
    }
    place.insert(last.to_owned(), value.into());
    Ok(())
}

/// Turns the numbered objects of the query protocol into the lists and maps of the JSON form.
fn gather(tree: Map<String, Value>) -> Result<Value, QueueError> {
    let mut gathered = Map::new();
    for (name, value) in tree {
        let list = LISTS.iter().find(|entry| entry.0 == name);
        let map = MAPS.iter().find(|entry| entry.0 == name);
        let (name, value) = match (value, list, map) {
            (Value::Object(numbered), Some((_, member)), _) => {
                ((*member).to_owned(), Value::Array(in_order(numbered)?))
            }
            (Value::Object(numbered), None, Some((_, member))) => {
                let mut entries = Map::new();
                for mut entry in in_order(numbered)? {
                    let key = [entry["Name"].take(), entry["Key"].take()];
                    let key = key.iter().find_map(Value::as_str).ok_or(QueueError::Malformed)?;
                    entries.insert(key.to_owned(), entry["Value"].take());
                }
                ((*member).to_owned(), Value::Object(entries))
            }
            (Value::Object(inner), None, None) => (name, gather(inner)?),
            // A list of one may go without a number: AttributeName=All.
            (leaf @ Value::String(_), Some((_, member)), _) => {
                ((*member).to_owned(), json!([leaf]))
            }
            (leaf, _, _) => (name, leaf),
        };
        gathered.insert(name, value);
    }
    Ok(Value::Object(gathered))
}

fn in_order(numbered: Map<String, Value>) -> Result<Vec<Value>, QueueError> {
    // A list of one may go without a number here, too: Attribute.Name=Policy.
    if numbered.keys().all(|name| !name.starts_with(|first: char| first.is_ascii_digit())) {
        return Ok(vec![gather(numbered)?]);
    }
    let mut ordered = BTreeMap::new();
    for (number, value) in numbered {
        let number: u32 = number.parse().map_err(|_| QueueError::Malformed)?;
        let value = match value {
            Value::Object(inner) => gather(inner)?,
            leaf => leaf,
        };
        ordered.insert(number, value);
    }
    Ok(ordered.into_values().collect())
}

fn success(form: Form, action: &str, answer: Value, request_id: &str) -> String {
    let metadata = json!({"RequestId": request_id});
    match form {
        Form::Json => answer.to_string(),
        Form::QueryJson => json!({
            (format!("{action}Response")): {
                (format!("{action}Result")): answer,
                "ResponseMetadata": metadata,
            }
        })
        .to_string(),
        Form::QueryXml => {
            let mut xml = String::new();
            let result = format!("{action}Result");
            let has_result = answer.as_object().is_some_and(|members| !members.is_empty());
            if has_result || action == "ReceiveMessage" {
                element(&mut xml, &result, |xml| write_members(xml, action, &answer));
            }
            element(&mut xml, "ResponseMetadata", |xml| write_members(xml, action, &metadata));
            format!(
                "<?xml version=\"1.0\"?>\
                 <{action}Response xmlns=\"{NAMESPACE}\">{xml}</{action}Response>"
            )
        }
    }
}

fn refuse(form: Form, error: &QueueError, request_id: &str) -> Response<Body> {
    let spelling = error.spelling();
    let (status, code) = (spelling.status, spelling.code);
    let fault = if status < 500 { "Sender" } else { "Receiver" };
    let message = match (form, error) {
        // The two protocols word this one differently.
        (Form::QueryXml | Form::QueryJson, QueueError::NoSuchQueue) => {
            "The specified queue does not exist for this wsdl version.".to_owned()
        }
        (_, error) => error.to_string(),
    };
    let members = json!({"Type": fault, "Code": code, "Message": message});
    let body = match form {
        Form::Json => json!({"__type": spelling.shape, "message": message}).to_string(),
        Form::QueryJson => json!({"Error": members, "RequestId": request_id}).to_string(),
        Form::QueryXml => {
            let mut xml = String::new();
            element(&mut xml, "Error", |xml| write_members(xml, "", &members));
            element(&mut xml, "RequestId", |xml| escape(xml, request_id));
            format!(
                "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"{NAMESPACE}\">{xml}</ErrorResponse>"
            )
        }
    };
    respond(form, request_id, status, Some(format!("{code};{fault}")), body)
}

fn respond(
    form: Form,
    request_id: &str,
    status: u16,
    query_error: Option<String>,
    body: String,
) -> Response<Body> {
    let content_type = match form {
        Form::Json => "application/x-amz-json-1.0",
        Form::QueryJson => "application/json",
        Form::QueryXml => "text/xml",
    };
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type)
        .header("x-amzn-requestid", request_id);
    if let (Form::Json, Some(query_error)) = (form, query_error) {
        response = response.header("x-amzn-query-error", query_error);
    }
    response.body(Body::from(body)).unwrap_or_else(|_| {
        let mut failure = Response::new(Body::empty());
        *failure.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        failure
    })
}

/// Writes the members of an object as SQS's XML: lists flattened, maps as names and values.
fn write_members(xml: &mut String, action: &str, object: &Value) {
    for (name, value) in object.as_object().into_iter().flatten() {
        match value {
            Value::Array(items) => {
                let tag = match name.as_str() {
                    "Successful" => format!("{action}ResultEntry"),
                    "Failed" => "BatchResultErrorEntry".to_owned(),
                    "Results" => "ListMessageMoveTasksResultEntry".to_owned(),
                    "queueUrls" => "QueueUrl".to_owned(),
                    plural => plural.trim_end_matches('s').to_owned(),
                };
                for item in items {
                    element(xml, &tag, |xml| write_value(xml, action, item));
                }
            }
            Value::Object(entries) => {
                for (key, value) in entries {
                    element(xml, name.trim_end_matches('s'), |xml| {
                        element(xml, "Name", |xml| escape(xml, key));
                        element(xml, "Value", |xml| write_value(xml, action, value));
                    });
                }
            }
            leaf => element(xml, name, |xml| write_value(xml, action, leaf)),
        }
    }
}

fn write_value(xml: &mut String, action: &str, value: &Value) {
    match value {
        Value::Object(_) => write_members(xml, action, value),
        Value::String(text) => escape(xml, text),
        other => escape(xml, &other.to_string()),
    }
}

fn element(xml: &mut String, tag: &str, content: impl FnOnce(&mut String)) {
    xml.extend(["<", tag, ">"]);
    content(xml);
    xml.extend(["</", tag, ">"]);
}

/// Escapes text. The carriage return too: an XML parser would make a line feed of it.
fn escape(xml: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\r' => xml.push_str("&#xD;"),
            other => xml.push(other),
        }
    }
}
