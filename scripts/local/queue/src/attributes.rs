//! Queue attributes: which can be set, their ranges, defaults and meaning.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{QueueError, invalid_value};

/// Region of every ARN.
const REGION: &str = "us-east-1";
/// Account of every ARN and queue URL.
pub(crate) const ACCOUNT: &str = "000000000000";

/// Attributes with a number: name, default, least and greatest value (SQS's quotas; the size
/// defaults to the 256 KiB that the pipeline sets, where a new queue of SQS would take 1 MiB).
const NUMBERS: [(&str, i64, i64, i64); 5] = [
    (VISIBILITY_TIMEOUT, 30, 0, 43_200),
    (DELAY, 0, 0, 900),
    (SIZE_MAX, 262_144, 1_024, 1_048_576),
    (RETENTION, 345_600, 60, 1_209_600),
    (WAIT_TIME, 0, 0, 20),
];
pub(crate) const VISIBILITY_TIMEOUT: &str = "VisibilityTimeout";
pub(crate) const DELAY: &str = "DelaySeconds";
pub(crate) const SIZE_MAX: &str = "MaximumMessageSize";
pub(crate) const RETENTION: &str = "MessageRetentionPeriod";
pub(crate) const WAIT_TIME: &str = "ReceiveMessageWaitTimeSeconds";
pub(crate) const REDRIVE_POLICY: &str = "RedrivePolicy";
pub(crate) const REDRIVE_ALLOW_POLICY: &str = "RedriveAllowPolicy";

/// Attributes that can be set and hold no number, or one without a default.
const OTHERS: [&str; 6] = [
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "Policy",
    REDRIVE_ALLOW_POLICY,
    REDRIVE_POLICY,
    "SqsManagedSseEnabled",
];

/// The attributes that are kept and returned, and have no effect: every credential is accepted, and
/// nothing is encrypted.
pub(crate) const WITHOUT_EFFECT: [&str; 3] =
    ["Policy", "KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds"];

/// The attributes that `operations` computes; they can be asked for but not set.
pub(crate) const COMPUTED: [&str; 6] = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
];

/// The ARN of the queue with this name.
pub(crate) fn arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}

/// The name in an ARN of this account and region.
pub(crate) fn name_in(arn: &str) -> Option<&str> {
    arn.strip_prefix("arn:aws:sqs:")?
        .strip_prefix(REGION)?
        .strip_prefix(':')?
        .strip_prefix(ACCOUNT)?
        .strip_prefix(':')
}

/// The attributes of one queue that were set, by SQS's names, in SQS's text form.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Attributes(pub(crate) BTreeMap<String, String>);

/// Where messages go that were received too often.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Redrive {
    /// Name of the dead-letter queue.
    pub(crate) dead_letters: String,
    /// The last receive that is still permitted.
    pub(crate) receives_max: i64,
}

impl Default for Attributes {
    fn default() -> Self {
        let numbers = NUMBERS.map(|(name, default, _, _)| (name.to_owned(), default.to_string()));
        let mut attributes = BTreeMap::from(numbers);
        attributes.insert("SqsManagedSseEnabled".into(), "true".into());
        Self(attributes)
    }
}

impl Attributes {
    /// Sets what `changes` names, or nothing when one of them is refused. An empty policy or key
    /// removes it.
    pub(crate) fn set(&mut self, changes: &BTreeMap<String, String>) -> Result<(), QueueError> {
        let mut attributes = self.0.clone();
        for (name, value) in changes {
            match normal(name, value)? {
                Some(value) => attributes.insert(name.clone(), value),
                None => attributes.remove(name),
            };
        }
        self.0 = attributes;
        Ok(())
    }

    /// The first of `wanted` whose value differs here.
    pub(crate) fn conflict(
        &self,
        wanted: &BTreeMap<String, String>,
    ) -> Result<Option<String>, QueueError> {
        for (name, value) in wanted {
            if normal(name, value)?.as_ref() != self.0.get(name) {
                return Ok(Some(name.clone()));
            }
        }
        Ok(None)
    }

    /// The value of one of the attributes that hold a number.
    pub(crate) fn number(&self, name: &str) -> i64 {
        let default = || NUMBERS.iter().find(|entry| entry.0 == name).map_or(0, |entry| entry.1);
        self.0.get(name).and_then(|value| value.parse().ok()).unwrap_or_else(default)
    }

    /// The redrive policy, if one is set.
    pub(crate) fn redrive(&self) -> Option<Redrive> {
        let policy: Value = serde_json::from_str(self.0.get(REDRIVE_POLICY)?).ok()?;
        Some(Redrive {
            dead_letters: name_in(policy["deadLetterTargetArn"].as_str()?)?.to_owned(),
            receives_max: policy["maxReceiveCount"].as_i64()?,
        })
    }

    /// Whether the queue `source` may use the queue with these attributes for its dead letters.
    pub(crate) fn allows_redrive_from(&self, source: &str) -> bool {
        let Some(policy) = self.0.get(REDRIVE_ALLOW_POLICY) else {
            return true;
        };
        let policy: Value = serde_json::from_str(policy).unwrap_or_default();
        match policy["redrivePermission"].as_str() {
            Some("denyAll") => false,
            Some("byQueue") => policy["sourceQueueArns"]
                .as_array()
                .is_some_and(|arns| arns.contains(&json!(arn(source)))),
            Some(_) | None => true,
        }
    }
}

/// Checks one attribute and returns the text that SQS would return for it, None to remove it.
fn normal(name: &str, value: &str) -> Result<Option<String>, QueueError> {
    let invalid = || QueueError::InvalidAttributeValue(name.to_owned());
    let within = |least: i64, greatest: i64| {
        let number = value.parse::<i64>().map_err(|_| invalid())?;
        let text = (least..=greatest).contains(&number).then(|| number.to_string());
        text.map(Some).ok_or_else(invalid)
    };
    if let Some((_, _, least, greatest)) = NUMBERS.iter().find(|entry| entry.0 == name) {
        return within(*least, *greatest);
    }
    match name {
        "KmsDataKeyReusePeriodSeconds" => within(60, 86_400),
        "SqsManagedSseEnabled" if ["true", "false"].contains(&value) => Ok(Some(value.to_owned())),
        "SqsManagedSseEnabled" => Err(invalid()),
        "Policy" | "KmsMasterKeyId" | REDRIVE_POLICY | REDRIVE_ALLOW_POLICY if value.is_empty() => {
            Ok(None)
        }
        REDRIVE_POLICY => redrive_policy(value).map(Some),
        "Policy" | REDRIVE_ALLOW_POLICY => match serde_json::from_str::<Value>(value) {
            Ok(Value::Object(_)) => Ok(Some(value.to_owned())),
            Ok(_) | Err(_) => Err(invalid()),
        },
        "KmsMasterKeyId" => Ok(Some(value.to_owned())),
        _ => Err(QueueError::UnknownAttribute(name.to_owned())),
    }
}

/// The redrive policy in SQS's own form, where the count is a number.
fn redrive_policy(text: &str) -> Result<String, QueueError> {
    let invalid = |reason: &str| invalid_value(text, REDRIVE_POLICY, reason);
    let policy: Value = serde_json::from_str(text).map_err(|_| invalid("Not a JSON object."))?;
    let target = policy["deadLetterTargetArn"]
        .as_str()
        .ok_or_else(|| invalid("Redrive policy does not contain mandatory deadLetterTargetArn."))?;
    let count = match &policy["maxReceiveCount"] {
        Value::String(digits) => digits.parse().ok(),
        other => other.as_i64(),
    };
    let count = count.filter(|count| (1..=1_000).contains(count)).ok_or_else(|| {
        invalid(
            "Invalid value for maxReceiveCount, valid values are from 1 to 1000 both inclusive.",
        )
    })?;
    if name_in(target).is_none() {
        return Err(invalid("Invalid value for deadLetterTargetArn."));
    }
    Ok(json!({"deadLetterTargetArn": target, "maxReceiveCount": count}).to_string())
}

/// Whether an attribute of this name can be set.
pub(crate) fn is_settable(name: &str) -> bool {
    NUMBERS.iter().any(|entry| entry.0 == name) || OTHERS.contains(&name)
}
