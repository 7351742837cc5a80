//! `summary`, `list` and `show`: looking, which consumes nothing.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use schema::json::Json;
use schema::timestamp::rfc3339;
use serde_json::{Map, Value, json};

use crate::audit::Audit;
use crate::filter::Filter;
use crate::hold::{Enough, Scan};
use crate::letter::Letter;
use crate::place::Logs;
use crate::queue::{Depth, Error, depth};
use crate::standing::{Outcome, Standing, standing_of};
use crate::terminal::{WIDTH_MAX, bar, clipped, masked, print, printable, span, table};
use crate::{Desk, Ending, now_ms};

/// Properties whose values name nobody.
const SHOWN: [&str; 3] = ["paymentId", "currency", "requestedExecutionDate"];

/// How long before letters expire the summary warns: over a weekend.
const EXPIRES_SOON: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// Columns of the longest reason that is shown in full.
const REASON_MAX: usize = 17;

/// Columns that a summary's second line leaves for versions: beside two blanks, the longest bar, a word.
const VERSIONS_MAX: usize = WIDTH_MAX - 2 - 30 - 9;

/// Columns of the longest user that is shown in full; a UUID is shorter.
const USER_MAX: usize = 40;

/// Characters of an id that are shown at least.
const ID_MIN: usize = 8;

/// Ids that an error names.
const NAMED_MAX: usize = 5;

/// What counts mean, below every listing.
const APPROXIMATE: &str = "Counts are approximate: messages come and go, and SQS may\nshow one late. All \
    were released.";

/// What the column RECEIVED means.
const RECEIVED: &str = "RECEIVED counts deliveries to the function before death.\nWhere the queue moved a \
    message itself (reason unknown) it\nis the queue's own count, to which every look adds one.";

/// All letters that died of one reason.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    reason: String,
    count: u64,
    /// Letters by the version of the function that gave up.
    versions: BTreeMap<String, u64>,
    /// When the first of them came to us.
    first_seen_ms: i64,
    /// By the queue's clock, which starts anew with every death: the first that expires, the last one.
    oldest_ms: i64,
    last_ms: i64,
}

/// What a summary says.
struct Summary {
    groups: Vec<Group>,
    scan: Scan,
    /// The main queue's counts.
    main: Depth,
    /// Letters that expire soon, and how long the first of them still keeps.
    expiring: usize,
    expires_in: Duration,
}

/// Shows how many died of what, how long they keep, and how many may still get there.
///
/// # Errors
/// The queue gives no answer.
pub async fn summary(desk: &Desk, as_json: bool) -> Result<Ending, Error> {
    let Some(scan) = desk.look(None).await? else { return Ok(Ending::Unfinished) };
    let main = depth(&desk.place.sqs, &desk.place.queue_url).await?;
    let summary = Summary::of(scan, main, now_ms());
    print(&if as_json { summary.json(now_ms()) } else { summary.text() });
    Ok(Ending::Done)
}

/// Groups letters by reason, the largest group first.
fn group(letters: &[Letter]) -> Vec<Group> {
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    for letter in letters {
        let group = groups.entry(letter.reason()).or_insert_with(|| Group {
            reason: letter.reason().to_owned(),
            count: 0,
            versions: BTreeMap::new(),
            first_seen_ms: letter.first_seen_ms(),
            oldest_ms: letter.sent_at_ms,
            last_ms: letter.sent_at_ms,
        });
        group.count += 1;
        *group.versions.entry(letter.version().to_owned()).or_default() += 1;
        group.first_seen_ms = group.first_seen_ms.min(letter.first_seen_ms());
        group.oldest_ms = group.oldest_ms.min(letter.sent_at_ms);
        group.last_ms = group.last_ms.max(letter.sent_at_ms);
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups
}

impl Summary {
    fn of(scan: Scan, main: Depth, now_ms: i64) -> Summary {
        let keeps = |letter: &Letter| left(letter.sent_at_ms, scan.depth.retention, now_ms);
        let soon = scan.letters.iter().map(keeps).filter(|left| *left <= EXPIRES_SOON);
        Summary {
            expiring: soon.clone().count(),
            expires_in: soon.min().unwrap_or_default(),
            groups: group(&scan.letters),
            scan,
            main,
        }
    }

    fn expires_in(&self, group: &Group, now_ms: i64) -> Duration {
        left(group.oldest_ms, self.scan.depth.retention, now_ms)
    }

    fn json(&self, now_ms: i64) -> String {
        let groups = self.groups.iter().map(|group| {
            json!({
                "reason": group.reason,
                "count": group.count,
                "versions": group.versions,
                "firstAt": rfc3339(group.first_seen_ms),
                "lastAt": rfc3339(group.last_ms),
                "oldestSeconds": age(group.oldest_ms, now_ms).as_secs(),
                "expiresInSeconds": self.expires_in(group, now_ms).as_secs(),
            })
        });
        let summary = json!({
            "reasons": groups.collect::<Vec<_>>(),
            "seen": self.scan.letters.len(),
            "outOfSight": self.scan.out_of_sight,
            "expiringSoon": self.expiring,
            "mainQueue": { "waiting": self.main.visible, "underWay": self.under_way() },
            "approximate": true,
        });
        format!("{summary}\n")
    }

    /// Messages of the main queue that a function has, or that wait for another try.
    fn under_way(&self) -> u64 {
        self.main.in_flight + self.main.delayed
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if self.groups.is_empty() {
            text += "No dead letters.\n";
        } else {
            self.write_groups(&mut text);
            let (count, keeps) = (self.scan.letters.len(), span(self.scan.depth.retention));
            let _ = writeln!(text, "\n{count} dead letters; the queue keeps each for {keeps}.");
        }
        if self.expiring > 0 {
            let _ = writeln!(
                text,
                "WARNING: {} expire within {}, the first in {}.\nSend them back, export or discard \
                 them before: what expires\nis lost.",
                self.expiring,
                span(EXPIRES_SOON),
                span(self.expires_in)
            );
        }
        let (waiting, under_way) = (self.main.visible, self.under_way());
        let _ = writeln!(
            text,
            "Main queue: {waiting} waiting, {under_way} being processed or waiting\nfor another try."
        );
        if !self.groups.is_empty() {
            text = text + APPROXIMATE + "\n";
        }
        text
    }

    /// Two lines for each reason.
    fn write_groups(&self, text: &mut String) {
        let now_ms = now_ms();
        let row = |group: &Group| {
            vec![
                clipped(&group.reason, REASON_MAX),
                group.count.to_string(),
                minute_of(group.first_seen_ms),
                minute_of(group.last_ms),
                span(self.expires_in(group, now_ms)),
            ]
        };
        let rows: Vec<_> = self.groups.iter().map(row).collect();
        let head = ["REASON", "COUNT", "FIRST SEEN", "LAST SEEN", "EXPIRES IN"];
        let mut lines = table(&head, &rows).into_iter();
        let largest = self.groups.iter().map(|group| group.count).max().unwrap_or_default();
        let _ = writeln!(text, "{}", lines.next().unwrap_or_default());
        for (line, group) in lines.zip(&self.groups) {
            let bar = bar(group.count, largest);
            let version = |(version, count)| format!("{version} ({count})");
            let versions: Vec<String> = group.versions.iter().map(version).collect();
            let versions = clipped(&versions.join(", "), VERSIONS_MAX);
            let _ = writeln!(text, "{line}\n  {bar} version {versions}");
        }
    }
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
    let now_ms = now_ms();
    let of = |letter: &Letter| filter.selects(letter, now_ms);
    let enough = filter.count_max().map(|count| Enough { count, of: &of });
    let Some(scan) = desk.look(enough).await? else { return Ok(Ending::Unfinished) };
    filter.check_reasons(&scan.letters)?;
    let unread = scan.unread();
    let id_width = id_width(&scan.letters);
    let (letters, others) = filter.divide(scan.letters, now_ms);
    if reveal {
        record_reveal(desk, "list", json!(filter), &letters).await?;
    }
    if as_json {
        let lines = letters.iter().map(|letter| format!("{}\n", described(letter, reveal)));
        print(&lines.collect::<String>());
        return Ok(Ending::Done);
    }
    let mut text = String::new();
    if !letters.is_empty() {
        let lines =
            if reveal { users(&letters, id_width) } else { deaths(&letters, id_width, now_ms) };
        text = lines.join("\n") + "\n\n";
    }
    let _ = writeln!(text, "{} shown, {} others.", letters.len(), others.len() + unread);
    text = text + APPROXIMATE + "\n";
    if !letters.is_empty() && !reveal {
        text = text + RECEIVED + "\n";
    }
    print(&text);
    Ok(Ending::Done)
}

/// How each letter died.
fn deaths(letters: &[Letter], id_width: usize, now_ms: i64) -> Vec<String> {
    let row = |letter: &Letter| {
        vec![
            beginning(&letter.message_id, id_width),
            clipped(letter.reason(), REASON_MAX),
            largest_unit(age(letter.sent_at_ms, now_ms)),
            received(letter),
            letter.redrives().to_string(),
            beginning(letter.payment_id().unwrap_or("-"), ID_MIN),
        ]
    };
    let rows: Vec<_> = letters.iter().map(row).collect();
    table(&["MESSAGE", "REASON", "AGE", "RECEIVED", "REDRIVEN", "PAYMENT"], &rows)
}

/// Whose each letter is.
fn users(letters: &[Letter], id_width: usize) -> Vec<String> {
    let row = |letter: &Letter| {
        vec![
            beginning(&letter.message_id, id_width),
            beginning(letter.payment_id().unwrap_or("-"), ID_MIN),
            clipped(letter.user().unwrap_or("-"), USER_MAX),
        ]
    };
    let rows: Vec<_> = letters.iter().map(row).collect();
    table(&["MESSAGE", "PAYMENT", "USER"], &rows)
}

/// How many characters tell the ids of these letters apart, so that each can be given to `dlq show`.
fn id_width(letters: &[Letter]) -> usize {
    let mut ids: Vec<&str> = letters.iter().map(|letter| letter.message_id.as_str()).collect();
    ids.sort_unstable();
    let common = |pair: &[&str]| {
        let both = pair[0].chars().zip(pair[1].chars());
        both.take_while(|(one, other)| one == other).count()
    };
    ids.windows(2).map(|pair| common(pair) + 1).max().unwrap_or_default().max(ID_MIN)
}

fn beginning(id: &str, width: usize) -> String {
    id.chars().take(width).collect()
}

/// The letter that an operator means: by its id, or a beginning of it, or by its paymentId.
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
            "no dead letter {text:?} is to be seen: look with `dlq list`; a re-drive gives a message a \
             new id"
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

/// Shows everything about one letter, and what the tables say of its payment now.
///
/// # Errors
/// There is no such letter to be seen, or several are meant; the queue gives no answer; what is revealed
/// cannot be recorded.
pub async fn show(desk: &Desk, id: &str, as_json: bool, reveal: bool) -> Result<Ending, Error> {
    // A whole id is enough; whether a beginning is the only one, only the whole queue can tell.
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
        None => "unknown: give --tables and --refusals-table".to_owned(),
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

/// How to find in the logs what happened to a request. The id is whatever the message says: quoted, it
/// does nothing in a shell or in a query.
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

/// A point in time for people: UTC, month to minute. Nothing is kept for a year.
pub(crate) fn minute_of(at_ms: i64) -> String {
    let text = rfc3339(at_ms);
    text.get(5..16).map_or(text.clone(), |text| text.replace('T', " "))
}

fn largest_unit(duration: Duration) -> String {
    let text = span(duration);
    text.split(' ').next().unwrap_or_default().to_owned()
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
        assert_eq!((first.first_seen_ms, first.oldest_ms), (5, 5));
        assert_eq!(first.last_ms, 1_790_000_000_123);
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
