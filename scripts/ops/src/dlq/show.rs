//! `show`: everything about one letter, and what the tables say of its payment now.

use std::fmt::Write;

use schema::json::Json;
use schema::timestamp::rfc3339;
use serde_json::{Map, Value, json};

use crate::clock::now_ms;
use crate::dlq::desk::Desk;
use crate::dlq::letter::Letter;
use crate::dlq::report::{described, left, received, record_reveal, shown};
use crate::dlq::scan::{Enough, Scan};
use crate::dlq::standing::{Outcome, Standing, standing_of};
use crate::error::{Ending, Error};
use crate::place::Logs;
use crate::terminal::{print, printable, span};

/// Properties of the body that are shown: their values name nobody.
const SHOWN: [&str; 3] = ["paymentId", "currency", "requestedExecutionDate"];

/// Message ids that an error names at the most.
const NAMED_MAX: usize = 5;

/// Shows everything about one letter, and what the tables say of its payment now.
///
/// # Errors
/// No letter or more than one is meant by the id, the queue does not answer, or the audit log cannot be
/// written.
pub async fn show(desk: &Desk, id: &str, as_json: bool, reveal: bool) -> Result<Ending, Error> {
    // With a whole message id, reading ends where it is found. Whether only one id begins with the text is
    // known when the whole queue has been read.
    let of = |letter: &Letter| letter.message_id == id;
    let enough = Some(Enough { count: 1, of: &of });
    let Some(scan) = desk.look(enough).await? else { return Ok(Ending::Unfinished) };
    let letter = meant(&scan.letters, id)?;
    if reveal {
        let filter = json!({ "message": letter.message_id });
        record_reveal(desk, "show", filter, std::slice::from_ref(letter)).await?;
    }
    let known = match &desk.place.tables {
        Some(tables) => Some(standing_of(tables, letter).await),
        None => None,
    };
    let standing = match known {
        Some(Ok(standing)) => in_words(&standing),
        Some(Err(failure)) => format!("unknown: {failure}"),
        None => "unknown: give --payments-table and --refusals-table".to_owned(),
    };
    let query = log_query(&desk.place.logs, letter.request_id());
    if as_json {
        let mut all = described(letter, reveal);
        if let Some(all) = all.as_object_mut() {
            all.insert("table".to_owned(), standing.into());
            all.insert("logQuery".to_owned(), query.into());
            all.insert("body".to_owned(), body(letter, reveal));
        }
        print(&format!("{all}\n"));
    } else {
        print(&shown_text(letter, &scan, reveal, &standing, &query));
    }
    Ok(Ending::Done)
}

/// The letter for people: a line for each fact, then the body.
fn shown_text(letter: &Letter, scan: &Scan, reveal: bool, standing: &str, query: &str) -> String {
    let accepted = letter.envelope.accepted_at_ms.map_or("-".to_owned(), rfc3339);
    let expires = span(left(letter.sent_at_ms, scan.depth.retention, now_ms()));
    let user = letter.user().map_or("-".to_owned(), |user| shown(user, reveal));
    let verified = if letter.envelope.sub.is_some() { "" } else { " (not verified)" };
    let mut text = String::new();
    for (name, value) in [
        ("message", letter.message_id.clone()),
        ("reason", letter.reason().to_owned()),
        ("detail", letter.detail().to_owned()),
        ("function version", letter.version().to_owned()),
        ("received", received(letter)),
        ("re-driven", format!("{} times", letter.redrives())),
        ("in the queue since", rfc3339(letter.sent_at_ms)),
        ("expires in", expires),
        ("accepted", accepted),
        ("request", letter.request_id().to_owned()),
        ("first message id", letter.original_message_id().to_owned()),
        ("payment", letter.payment_id().unwrap_or("-").to_owned()),
        ("user", user + verified),
        ("body", format!("{} bytes, MD5 {}", letter.body.len(), letter.body_md5())),
        ("table", standing.to_owned()),
        ("logs", query.to_owned()),
    ] {
        let _ = writeln!(text, "{name:<20}{}", printable(&value));
    }
    text.push('\n');
    match body(letter, reveal) {
        Value::String(body) => text = text + &printable(&body) + "\n",
        masked => {
            for line in format!("{masked:#}").lines() {
                text = text + &printable(line) + "\n";
            }
            text += "(values masked; --reveal shows them, and is recorded)\n";
        }
    }
    text
}

/// What the tables say of a letter's payment.
fn in_words(standing: &Standing) -> String {
    match &standing.outcome {
        Outcome::Stored => "stored already, by this request: a re-drive changes nothing".to_owned(),
        Outcome::Duplicate => {
            "stored already, by another request of the same payment: a re-drive changes nothing"
                .to_owned()
        }
        Outcome::Refused(reason) => format!("refused already: {reason}"),
        Outcome::Open if standing.item.is_some() => {
            "another payment is stored under this paymentId: a re-drive will be refused".to_owned()
        }
        Outcome::Open => match &standing.record {
            Some(record) => {
                format!("not stored; the client is told: {} ({})", record.kind, record.reason)
            }
            None => "not stored; the client is told nothing".to_owned(),
        },
    }
}

/// How to find in the logs what happened to a request. Anybody may have written the request id, so it is
/// quoted: pasted into a shell or a query, it can only be searched for.
fn log_query(logs: &Logs, request_id: &str) -> String {
    let request_id = json!(request_id).to_string();
    match logs {
        Logs::File(path) => {
            let path = path.display().to_string();
            let quoted = shlex::try_join(["grep", "-F", &request_id, &path]);
            quoted.unwrap_or_else(|_| format!("requestId {request_id} in {path}"))
        }
        Logs::CloudWatch => format!(
            "CloudWatch Logs Insights, saved query \"what became of a request\": fields @timestamp, \
             outcome, reason, receiveCount, messageId | filter requestId = {request_id} | sort \
             @timestamp asc"
        ),
    }
}

/// The letter that an operator means by a text: a message id, a paymentId, or what only one of them begins
/// with.
fn meant<'a>(letters: &'a [Letter], text: &str) -> Result<&'a Letter, Error> {
    let is_meant = |letter: &&Letter| {
        let of_payment = letter.payment_id().is_some_and(|id| id.starts_with(text));
        letter.message_id.starts_with(text) || of_payment
    };
    if let Some(letter) = letters.iter().find(|letter| letter.message_id == text) {
        return Ok(letter);
    }
    let found: Vec<&Letter> = letters.iter().filter(is_meant).collect();
    match found[..] {
        [letter] => Ok(letter),
        [] => Err(Error::Configuration(format!(
            "no dead letter {text:?} is to be seen: look with `cargo dlq list`; a re-drive gives a message \
             a new id"
        ))),
        [..] => {
            let ids = found.iter().take(NAMED_MAX).map(|letter| letter.message_id.as_str());
            Err(Error::Configuration(format!(
                "{} dead letters are meant by {text:?}; the message ids begin with: {}",
                found.len(),
                ids.collect::<Vec<_>>().join(", ")
            )))
        }
    }
}

/// The body: as it is, or with every value masked that may name somebody.
fn body(letter: &Letter, reveal: bool) -> Value {
    if reveal {
        return letter.body.clone().into();
    }
    let member = |(name, value): (&String, &Json)| {
        let value = match value {
            Json::String(text) if SHOWN.contains(&name.as_str()) => text.clone().into(),
            value => mask(value),
        };
        (name.clone(), value)
    };
    Value::Object(letter.properties().iter().map(member).collect::<Map<_, _>>())
}

fn mask(value: &Json) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(_) | Json::Number(_) | Json::String(_) => "…".into(),
        Json::Array(items) => items.iter().map(mask).collect(),
        Json::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), mask(value))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::letter::tests::letter;

    #[test]
    fn nothing_that_a_payment_says_is_shown_unless_revealed() {
        let text = r#"{"paymentId":"p-1","userId":"canary-user","amount":"12.34","currency":"GBP","creditorAccount":{"name":"canary","identification":"canary"},"remittanceInformation":{"unstructured":["canary"]},"note":123456,"flag":true}"#;
        let letter = letter("m", text, &[("sub", "canary-user")], false);
        let masked = format!("{}{}", body(&letter, false), described(&letter, false));
        for secret in ["canary-user", "\"canary\"", "12.34", "123456", "true"] {
            assert!(!masked.contains(secret), "{secret}: {masked}");
        }
        assert!(masked.contains("p-1") && masked.contains("GBP") && masked.contains("canary-u…"));
        assert_eq!(body(&letter, true), text);
        assert!(described(&letter, true).to_string().contains("canary-user"));
    }
}
