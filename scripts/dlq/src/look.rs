//! `summary`, `list` and `show`: looking, which consumes nothing.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use payments_table::Kind;
use schema::json::Json;
use schema::timestamp::rfc3339;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::audit::Audit;
use crate::filter::Filter;
use crate::follow::{Known, Outcome, look_up, outcome};
use crate::hold::Scan;
use crate::letter::Letter;
use crate::place::Logs;
use crate::queue::Error;
use crate::terminal::{bar, masked, print, span, table};
use crate::{Desk, Ending, now_ms};

/// Properties whose values name nobody.
const SHOWN: [&str; 3] = ["paymentId", "currency", "requestedExecutionDate"];

/// What counts mean, below every listing.
const APPROXIMATE: &str = "Counts are approximate: messages come and go, and SQS may show one late. \
    All were released.";

/// What the column RECEIVED means.
const RECEIVED: &str = "RECEIVED counts deliveries to the function before death. Where the queue moved a \
    message itself\n(reason unknown) it is the queue's own count, to which every look adds one.";

/// All letters that died of one reason.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    reason: String,
    count: u64,
    /// Letters by the version of the function that gave up.
    versions: BTreeMap<String, u64>,
    first_at_ms: i64,
    last_at_ms: i64,
}

/// Shows how many died of what, and how long they keep.
///
/// # Errors
/// The queue gives no answer.
pub async fn summary(desk: &Desk, as_json: bool) -> Result<Ending, Error> {
    let Some(scan) = desk.look(None).await? else { return Ok(Ending::Unfinished) };
    let groups = group(&scan.letters);
    let text = if as_json {
        summary_json(&groups, &scan, now_ms())
    } else {
        summary_text(&groups, &scan, now_ms())
    };
    print(&text);
    Ok(Ending::Done)
}

/// Groups letters by reason, the largest group first.
fn group(letters: &[Letter]) -> Vec<Group> {
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    for letter in letters {
        let at = letter.sent_at_ms;
        let group = groups.entry(letter.reason()).or_insert_with(|| Group {
            reason: letter.reason().to_owned(),
            count: 0,
            versions: BTreeMap::new(),
            first_at_ms: at,
            last_at_ms: at,
        });
        group.count += 1;
        *group.versions.entry(letter.version().to_owned()).or_default() += 1;
        group.first_at_ms = group.first_at_ms.min(at);
        group.last_at_ms = group.last_at_ms.max(at);
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups
}

fn summary_json(groups: &[Group], scan: &Scan, now_ms: i64) -> String {
    let groups = groups.iter().map(|group| {
        json!({
            "reason": group.reason,
            "count": group.count,
            "versions": group.versions,
            "firstAt": rfc3339(group.first_at_ms),
            "lastAt": rfc3339(group.last_at_ms),
            "oldestSeconds": age(group.first_at_ms, now_ms).as_secs(),
            "expiresInSeconds": left(group.first_at_ms, scan.depth.retention, now_ms).as_secs(),
        })
    });
    let summary = json!({
        "reasons": groups.collect::<Vec<_>>(),
        "seen": scan.letters.len(),
        "outOfSight": scan.out_of_sight,
        "approximate": true,
    });
    format!("{summary}\n")
}

fn summary_text(groups: &[Group], scan: &Scan, now_ms: i64) -> String {
    if groups.is_empty() {
        return "No dead letters.\n".to_owned();
    }
    let largest = groups.iter().map(|group| group.count).max().unwrap_or_default();
    let row = |group: &Group| {
        let versions = group.versions.iter().map(|(version, count)| format!("{version} ({count})"));
        vec![
            group.reason.clone(),
            group.count.to_string(),
            bar(group.count, largest),
            versions.collect::<Vec<_>>().join(", "),
            span(age(group.first_at_ms, now_ms)),
            span(left(group.first_at_ms, scan.depth.retention, now_ms)),
            seconds_of(group.first_at_ms),
            seconds_of(group.last_at_ms),
        ]
    };
    let head =
        ["REASON", "COUNT", "", "VERSION", "OLDEST", "EXPIRES IN", "FIRST SEEN", "LAST SEEN"];
    let mut text = table(&head, groups.iter().map(row).collect());
    let (count, keeps) = (scan.letters.len(), span(scan.depth.retention));
    let _ =
        write!(text, "\n{count} dead letters; the queue keeps each for {keeps}.\n{APPROXIMATE}\n");
    text
}

/// Lists letters.
///
/// # Errors
/// The queue gives no answer, or what is revealed cannot be recorded.
pub async fn list(
    desk: &Desk,
    filter: &Filter,
    as_json: bool,
    reveal: bool,
) -> Result<Ending, Error> {
    let Some(scan) = desk.look(None).await? else { return Ok(Ending::Unfinished) };
    let (letters, others) = filter.divide(scan.letters, now_ms());
    if reveal {
        record_reveal(desk, "list", json!(filter), &letters).await?;
    }
    let rows = letters.iter();
    if as_json {
        let lines = rows.map(|letter| format!("{}\n", described(letter, reveal)));
        print(&lines.collect::<String>());
        return Ok(Ending::Done);
    }
    let head = ["MESSAGE", "REASON", "AGE", "RECEIVED", "REDRIVEN", "VERSION", "PAYMENT", "USER"];
    let row = |letter: &Letter| {
        vec![
            letter.message_id.clone(),
            letter.reason().to_owned(),
            span(age(letter.sent_at_ms, now_ms())),
            received(letter),
            letter.redrives().to_string(),
            letter.version().to_owned(),
            letter.payment_id().unwrap_or("-").to_owned(),
            letter.user().map_or("-".to_owned(), |user| shown(user, reveal)),
        ]
    };
    let mut text = String::new();
    if !letters.is_empty() {
        text = table(&head, rows.map(row).collect());
    }
    let _ = write!(
        text,
        "\n{} shown, {} others.\n{APPROXIMATE}\n{RECEIVED}\n",
        letters.len(),
        others.len()
    );
    print(text.trim_start());
    Ok(Ending::Done)
}

/// Shows everything about one letter, and what the tables say of its payment now.
///
/// # Errors
/// There is no such letter to be seen; the queue gives no answer; what is revealed cannot be recorded.
pub async fn show(
    desk: &Desk,
    message_id: &str,
    as_json: bool,
    reveal: bool,
) -> Result<Ending, Error> {
    let Some(scan) = desk.look(Some(message_id)).await? else { return Ok(Ending::Unfinished) };
    let found = scan.letters.iter().find(|letter| letter.message_id == message_id);
    let Some(letter) = found else {
        return Err(Error::Configuration(format!(
            "no dead letter {message_id} is to be seen: look with `dlq list`; a re-drive gives a \
             message a new id"
        )));
    };
    if reveal {
        let filter = json!({ "message": message_id });
        record_reveal(desk, "show", filter, std::slice::from_ref(letter)).await?;
    }
    let known = match &desk.place.tables {
        Some(tables) => Some(look_up(tables, letter).await),
        None => None,
    };
    let standing = match known {
        Some(Ok(known)) => standing(letter, &known),
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

fn shown_text(letter: &Letter, scan: &Scan, reveal: bool, standing: &str, query: &str) -> String {
    let accepted = letter.envelope.accepted_at_ms.map_or("-".to_owned(), rfc3339);
    let expires = span(left(letter.sent_at_ms, scan.depth.retention, now_ms()));
    let user = letter.user().map_or("-".to_owned(), |user| shown(user, reveal));
    let verified = if letter.envelope.sub.is_some() { "" } else { " (nobody vouches for it)" };
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
        let _ = writeln!(text, "{name:<20}{value}");
    }
    let body = match body(letter, reveal) {
        Value::String(text) => text,
        masked => format!("{masked:#}\n(values masked; --reveal shows them, and is recorded)"),
    };
    let _ = write!(text, "\n{body}\n");
    text
}

/// What the tables say of a letter's payment.
fn standing(letter: &Letter, known: &Known) -> String {
    let held = match &known.record {
        Some(record) if record.kind == Kind::Held => {
            format!("; the client is told: held ({})", record.reason)
        }
        Some(_) | None => String::new(),
    };
    match outcome(letter, known) {
        Outcome::Stored => "stored already, by this request: a re-drive changes nothing".to_owned(),
        Outcome::Duplicate => {
            "stored already, by another request of the same payment: a re-drive changes nothing"
                .to_owned()
        }
        Outcome::Refused(reason) => format!("refused already: {reason}"),
        Outcome::Open if known.item.is_some() => {
            "another payment is stored under this paymentId: a re-drive will be refused".to_owned()
        }
        Outcome::Open => format!("not stored{held}"),
    }
}

/// How to find in the logs what happened to a request.
fn log_query(logs: &Logs, request_id: &str) -> String {
    match logs {
        Logs::File(path) => format!("grep -F '\"{request_id}\"' {}", path.display()),
        Logs::CloudWatch => format!(
            "CloudWatch Logs Insights, saved query \"what became of a request\": fields @timestamp, \
             outcome, reason, receiveCount, messageId | filter requestId = \"{request_id}\" | sort \
             @timestamp asc"
        ),
    }
}

async fn record_reveal(
    desk: &Desk,
    action: &'static str,
    filter: Value,
    letters: &[Letter],
) -> Result<(), Error> {
    let ids: Vec<&str> = letters.iter().map(|letter| letter.message_id.as_str()).collect();
    let about = json!({
        "who": desk.place.who().await,
        "queue": desk.place.dead_letter_queue_url,
        "filter": filter,
        "messageIds": ids,
        "revealed": true,
    });
    Audit::begin(&desk.place.audit_log, action, &about).map(|_| ())
}

/// A letter for programs, without its body.
fn described(letter: &Letter, reveal: bool) -> Value {
    json!({
        "messageId": letter.message_id,
        "reason": letter.reason(),
        "detail": letter.detail(),
        "functionVersion": letter.version(),
        "receivesBeforeDeath": letter.receives_before_death(),
        "receivesOfQueue": letter.receives,
        "redriveCount": letter.redrives(),
        "sentAt": rfc3339(letter.sent_at_ms),
        "acceptedAt": letter.envelope.accepted_at_ms.map(rfc3339),
        "requestId": letter.request_id(),
        "originalMessageId": letter.original_message_id(),
        "paymentId": letter.payment_id(),
        "user": letter.user().map(|user| shown(user, reveal)),
        "bodyMd5": letter.body_md5(),
    })
}

/// The body: as it is, or with everything masked that may name somebody.
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

fn shown(user: &str, reveal: bool) -> String {
    if reveal { user.to_owned() } else { masked(user) }
}

fn received(letter: &Letter) -> String {
    match letter.receives_before_death() {
        Some(count) => count.to_string(),
        None => format!("≤{}", letter.receives),
    }
}

fn age(since_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(now_ms - since_ms).unwrap_or_default())
}

fn left(since_ms: i64, retention: Duration, now_ms: i64) -> Duration {
    retention.saturating_sub(age(since_ms, now_ms))
}

/// A point in time for people: UTC, to the second.
fn seconds_of(at_ms: i64) -> String {
    let text = rfc3339(at_ms);
    text.get(..19).map_or(text.clone(), |text| text.replace('T', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letter::tests::{NOTE, letter};

    #[test]
    fn letters_are_counted_by_reason_and_version() {
        let note = |version: &str| NOTE.replace(r#""7""#, &format!(r#""{version}""#));
        let mut letters: Vec<Letter> = ["7", "8", "8"]
            .iter()
            .map(|version| letter("m", "{}", &[("deadLetter", &note(version))], false))
            .collect();
        letters.push(letter("m", "{}", &[], true));
        letters[1].sent_at_ms = 5;
        letters[2].sent_at_ms = 9;
        let groups = group(&letters);
        let first = &groups[0];
        assert_eq!((first.reason.as_str(), first.count), ("throttled", 3));
        assert_eq!((first.first_at_ms, first.last_at_ms), (5, 1_790_000_000_123));
        assert_eq!(first.versions, [("7".to_owned(), 1), ("8".to_owned(), 2)].into());
        assert_eq!((groups[1].reason.as_str(), groups[1].count), ("unknown", 1));
    }

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
