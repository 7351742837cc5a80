//! Messages: what may be sent, how SQS digests it, and what a receiver gets.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bigdecimal::BigDecimal;
use md5::{Digest as _, Md5};
use serde_json::{Map, Value, json};

use crate::error::{ILLEGAL_CHARACTERS, QueueError, invalid_value};

/// The most attributes of one message (SQS's quota).
const ATTRIBUTES_MAX: usize = 10;
/// The longest name and the longest type of an attribute, in bytes (SQS's quota).
const NAME_BYTES_MAX: usize = 256;
/// The longest spelling of a number, which keeps the conversion of a hostile one cheap.
const NUMBER_BYTES_MAX: usize = 256;
/// Significant digits of a number (SQS's quota).
const NUMBER_DIGITS_MAX: usize = 38;
/// Decimal exponents of a number's first digit (SQS's quota).
const NUMBER_EXPONENTS: RangeInclusive<i64> = -130..=125;
/// The only system attribute that a sender may set.
pub(crate) const TRACE_HEADER: &str = "AWSTraceHeader";
/// The parameter, and the system attribute, that names the group of a message.
pub(crate) const GROUP_ID: &str = "MessageGroupId";
/// The longest name of a group (SQS's quota).
const GROUP_ID_CHARACTERS_MAX: usize = 128;

/// A message as a receiver gets it, with everything that SQS knows about it.
#[derive(Debug, Clone)]
pub struct Received {
    /// SQS's id of the message, a UUID.
    pub message_id: String,
    /// Proof of this receive; deletes the message unless it is received again first.
    pub receipt_handle: String,
    /// The body, byte for byte as it was sent.
    pub body: String,
    /// Hexadecimal MD5 of the body.
    pub md5_of_body: String,
    /// Hexadecimal MD5 of the message attributes, absent when there are none.
    pub md5_of_message_attributes: Option<String>,
    /// System attributes: `ApproximateReceiveCount`, `SentTimestamp` (Unix milliseconds),
    /// `SenderId`, `ApproximateFirstReceiveTimestamp`, and where they apply `AWSTraceHeader`,
    /// `MessageGroupId` and `DeadLetterQueueSourceArn`.
    pub attributes: BTreeMap<String, String>,
    /// The sender's own attributes.
    pub message_attributes: BTreeMap<String, MessageAttribute>,
}

/// One attribute that a sender put on a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageAttribute {
    /// `String`, `Number` or `Binary`, with an optional label after a dot.
    pub data_type: String,
    /// The value; binary exactly when the type is.
    pub value: AttributeValue,
}

/// The value of a message attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeValue {
    /// The value of a `String` or `Number`.
    String(String),
    /// The value of a `Binary`.
    Binary(Vec<u8>),
}

/// A message that a sender hands over, checked except for the limits of its queue.
#[derive(Debug, Clone)]
pub struct Message {
    pub(crate) id: String,
    pub(crate) body: String,
    pub(crate) attributes: BTreeMap<String, MessageAttribute>,
    pub(crate) trace: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) delay_s: Option<i64>,
}

impl Message {
    /// Checks a body and its attributes by SQS's rules and gives them a message id.
    pub fn new(
        body: String,
        attributes: BTreeMap<String, MessageAttribute>,
    ) -> Result<Self, QueueError> {
        if body.is_empty() {
            return Err(QueueError::MissingParameter("MessageBody".into()));
        }
        if !legal(&body) {
            return Err(QueueError::InvalidContents);
        }
        if attributes.len() > ATTRIBUTES_MAX {
            return Err(QueueError::InvalidParameter(format!(
                "Number of message attributes [{}] exceeds the allowed maximum [{ATTRIBUTES_MAX}].",
                attributes.len()
            )));
        }
        for (name, attribute) in &attributes {
            attribute.check(name)?;
        }
        let id = uuid::Uuid::new_v4().to_string();
        Ok(Self { id, body, attributes, trace: None, group: None, delay_s: None })
    }

    /// The message in a group: its queue is fair between groups.
    pub fn in_group(mut self, group: &str) -> Result<Self, QueueError> {
        // SQS lists letters, digits and every punctuation character of ASCII.
        let is_legal = group.bytes().all(|byte| byte.is_ascii_graphic());
        if group.is_empty() || group.len() > GROUP_ID_CHARACTERS_MAX || !is_legal {
            let reason = "MessageGroupId can only include alphanumeric and punctuation characters. \
                          1 to 128 in length.";
            return Err(invalid_value(group, GROUP_ID, reason));
        }
        self.group = Some(group.to_owned());
        Ok(self)
    }

    /// What counts towards the limits: the body and every part of every attribute, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let attribute_bytes = |(name, attribute): (&String, &MessageAttribute)| {
            name.len() + attribute.data_type.len() + attribute.bytes().len()
        };
        self.body.len() + self.attributes.iter().map(attribute_bytes).sum::<usize>()
    }

    /// The answer to SendMessage: the id, and digests that prove what was queued.
    pub(crate) fn sent(&self) -> Value {
        let mut answer = json!({
            "MessageId": self.id,
            "MD5OfMessageBody": md5_of(self.body.as_bytes()),
        });
        if let Some(digest) = md5_of_attributes(&self.attributes) {
            answer["MD5OfMessageAttributes"] = digest.into();
        }
        if let Some(trace) = &self.trace {
            let value = AttributeValue::String(trace.clone());
            let header = MessageAttribute { data_type: "String".into(), value };
            let system = BTreeMap::from([(TRACE_HEADER.to_owned(), header)]);
            answer["MD5OfMessageSystemAttributes"] = md5_of_attributes(&system).into();
        }
        answer
    }
}

impl MessageAttribute {
    /// Reads the form that both protocols and the database share.
    pub(crate) fn from_json(name: &str, value: &Value) -> Result<Self, QueueError> {
        let Some(data_type) = value["DataType"].as_str().filter(|text| !text.is_empty()) else {
            return Err(QueueError::MissingParameter(format!("{name}.DataType")));
        };
        let empty = || {
            QueueError::InvalidParameter(format!(
                "Message (user) attribute '{name}' must contain a non-empty value of type \
                 '{data_type}'."
            ))
        };
        let is_binary = data_type.split('.').next() == Some("Binary");
        let member = if is_binary { "BinaryValue" } else { "StringValue" };
        let text = value[member].as_str().filter(|text| !text.is_empty()).ok_or_else(empty)?;
        let value = match is_binary {
            false => AttributeValue::String(text.to_owned()),
            true => AttributeValue::Binary(STANDARD.decode(text).map_err(|_| empty())?),
        };
        Ok(Self { data_type: data_type.to_owned(), value })
    }

    /// The form that both protocols and the database share.
    pub(crate) fn to_json(&self) -> Value {
        match &self.value {
            AttributeValue::String(text) => {
                json!({"DataType": self.data_type, "StringValue": text})
            }
            AttributeValue::Binary(bytes) => {
                json!({"DataType": self.data_type, "BinaryValue": STANDARD.encode(bytes)})
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        match &self.value {
            AttributeValue::String(text) => text.as_bytes(),
            AttributeValue::Binary(bytes) => bytes,
        }
    }

    fn check(&self, name: &str) -> Result<(), QueueError> {
        let refuse = |text: String| Err(QueueError::InvalidParameter(text));
        if name.is_empty() || name.len() > NAME_BYTES_MAX || self.data_type.len() > NAME_BYTES_MAX {
            return refuse(
                "Message (user) attribute names and types must have 1 to 256 bytes.".into(),
            );
        }
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)) {
            return refuse(format!(
                "Message (user) attributes name '{name}' can only contain upper and lower case \
                 letters, digits, periods, hyphens and underscores."
            ));
        }
        let lower = name.to_ascii_lowercase();
        let reserved = lower.starts_with("aws.") || lower.starts_with("amazon.");
        if reserved || name.starts_with('.') || name.ends_with('.') || name.contains("..") {
            return refuse(format!(
                "Message (user) attribute name '{name}' must not begin with 'AWS.' or 'Amazon.', \
                 begin or end with a period, or have periods in succession."
            ));
        }
        match (self.data_type.split('.').next(), &self.value) {
            (Some("String"), AttributeValue::String(text)) if legal(text) => Ok(()),
            (Some("String"), AttributeValue::String(_)) => refuse(ILLEGAL_CHARACTERS.into()),
            (Some("Number"), AttributeValue::String(text)) if is_number(text) => Ok(()),
            (Some("Number"), AttributeValue::String(_)) => refuse(format!(
                "Can't cast the value of message (user) attribute '{name}' to a number."
            )),
            (Some("Binary"), AttributeValue::Binary(_)) => Ok(()),
            (kind, _) => refuse(format!(
                "The type of message (user) attribute '{name}' is invalid: '{}'. It must be String, \
                 Number or Binary, with a value of that type.",
                kind.unwrap_or_default()
            )),
        }
    }
}

/// The attributes of a message as the JSON object that both protocols and the database share.
pub(crate) fn attributes_to_json(attributes: &BTreeMap<String, MessageAttribute>) -> Value {
    let entry =
        |(name, attribute): (&String, &MessageAttribute)| (name.clone(), attribute.to_json());
    Value::Object(attributes.iter().map(entry).collect())
}

/// Reads what [`attributes_to_json`] wrote, or what a client sent.
pub(crate) fn attributes_from_json(
    attributes: &Map<String, Value>,
) -> Result<BTreeMap<String, MessageAttribute>, QueueError> {
    let entry = |(name, value): (&String, &Value)| {
        Ok((name.clone(), MessageAttribute::from_json(name, value)?))
    };
    attributes.iter().map(entry).collect()
}

/// Hexadecimal MD5.
pub(crate) fn md5_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(32);
    for byte in Md5::digest(bytes) {
        write!(text, "{byte:02x}").expect("a String takes every write");
    }
    text
}

/// SQS's digest of attributes: by name, each of name, type and value after its length in four
/// bytes, the value after one more byte that is 1 for text and 2 for binary (Developer Guide,
/// "Calculating the MD5 message digest for message attributes"). None without attributes.
pub(crate) fn md5_of_attributes(attributes: &BTreeMap<String, MessageAttribute>) -> Option<String> {
    fn put(bytes: &mut Vec<u8>, part: &[u8]) {
        let length = u32::try_from(part.len()).expect("an attribute is shorter than 4 GiB");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(part);
    }
    let mut bytes = Vec::new();
    for (name, attribute) in attributes {
        put(&mut bytes, name.as_bytes());
        put(&mut bytes, attribute.data_type.as_bytes());
        bytes.push(match attribute.value {
            AttributeValue::String(_) => 1,
            AttributeValue::Binary(_) => 2,
        });
        put(&mut bytes, attribute.bytes());
    }
    (!attributes.is_empty()).then(|| md5_of(&bytes))
}

/// Whether every character is one that XML 1.0 can carry.
pub(crate) fn legal(text: &str) -> bool {
    text.chars().all(|character| match character {
        '\t' | '\n' | '\r' => true,
        '\u{FFFE}' | '\u{FFFF}' => false,
        other => other >= ' ',
    })
}

/// Whether it is a number that SQS keeps.
fn is_number(text: &str) -> bool {
    let is_numeral = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    if text.len() > NUMBER_BYTES_MAX || !text.bytes().all(is_numeral) {
        return false;
    }
    let Ok(number) = text.parse::<BigDecimal>() else {
        return false;
    };
    let (digits, scale) = number.normalized().into_bigint_and_exponent();
    let count = digits.magnitude().to_string().len();
    let first = i64::try_from(count).unwrap_or(i64::MAX) - 1 - scale;
    count <= NUMBER_DIGITS_MAX && NUMBER_EXPONENTS.contains(&first)
}
