//! `summary`: how many died of what, how long the queue still keeps them, and what else may die.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use schema::timestamp::rfc3339;
use serde_json::json;

use crate::clock::now_ms;
use crate::dlq::desk::Desk;
use crate::dlq::letter::Letter;
use crate::dlq::report::{APPROXIMATE, REASON_MAX, age, left};
use crate::dlq::scan::Scan;
use crate::error::{Ending, Error};
use crate::queue::{Depth, depth};
use crate::terminal::{BAR_MAX, WIDTH_MAX, bar, clipped, minute_of, print, span, table};

/// How long before letters expire the summary warns: over a weekend.
const EXPIRES_SOON: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// Columns that the second line of a group leaves for versions, beside two blanks, the longest bar and the
/// word "version" between two blanks.
const VERSIONS_MAX: usize = WIDTH_MAX - 2 - BAR_MAX - 9;

/// The letters that died of one reason.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    reason: String,
    count: u64,
    /// Letters by the version of the function that gave up.
    versions: BTreeMap<String, u64>,
    /// When the first of their payments was accepted.
    first_seen_ms: i64,
    /// Since when the queue has had the oldest of them. That one expires first.
    oldest_ms: i64,
    /// Since when the queue has had the latest of them.
    last_ms: i64,
}

/// What a summary says.
struct Summary {
    groups: Vec<Group>,
    scan: Scan,
    /// The main queue's counts.
    main: Depth,
    /// How many letters expire soon.
    expiring: usize,
    /// How long the queue still keeps the first of those.
    expires_in: Duration,
}

/// Shows how many died of what, how long the queue still keeps them, and how many payments are still being
/// retried.
///
/// # Errors
/// A queue does not answer.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::letter::tests::{NOTE, letter};

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
}
