//! What a function's response acknowledges.

use std::collections::HashSet;

use serde_json::Value;

/// A response that makes Lambda retry the whole batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadResponse {
    /// It is not a JSON object, or its failures are not a list of objects.
    #[error("the response has the wrong shape")]
    Shape,
    /// An identifier is missing, null, empty or not a string.
    #[error("the response has a failure without an itemIdentifier")]
    NoIdentifier,
    /// An identifier is of no message in the batch.
    #[error("the response names a message that is not in the batch")]
    UnknownIdentifier,
}

/// The positions of the messages that a response acknowledges, in a batch of these message ids.
///
/// As in Lambda, an empty or null response, an empty or null list, and a response without
/// `batchItemFailures` acknowledge everything; the last one is how a wrong key loses failures.
///
/// # Errors
/// [`BadResponse`]: Lambda acknowledges nothing.
pub(super) fn acknowledged(response: &[u8], batch: &[&str]) -> Result<Vec<usize>, BadResponse> {
    let everything = (0..batch.len()).collect();
    if response.trim_ascii().is_empty() {
        return Ok(everything);
    }
    let failures = match serde_json::from_slice(response) {
        Ok(Value::Null) => return Ok(everything),
        Ok(Value::Object(mut response)) => match response.remove("batchItemFailures") {
            None | Some(Value::Null) => return Ok(everything),
            Some(Value::Array(failures)) => failures,
            Some(_) => return Err(BadResponse::Shape),
        },
        Ok(_) | Err(_) => return Err(BadResponse::Shape),
    };
    let known: HashSet<&str> = batch.iter().copied().collect();
    let mut failed = HashSet::new();
    for failure in &failures {
        let failure = failure.as_object().ok_or(BadResponse::Shape)?;
        let identifier = failure.get("itemIdentifier").and_then(Value::as_str);
        let identifier = identifier.filter(|id| !id.is_empty()).ok_or(BadResponse::NoIdentifier)?;
        if !known.contains(identifier) {
            return Err(BadResponse::UnknownIdentifier);
        }
        failed.insert(identifier);
    }
    Ok((0..batch.len()).filter(|position| !failed.contains(batch[*position])).collect())
}
