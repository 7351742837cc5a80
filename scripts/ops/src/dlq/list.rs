//! `list`: the letters, one a line.

use std::fmt::Write;
use std::time::Duration;

use serde_json::json;

use crate::clock::now_ms;
use crate::dlq::desk::Desk;
use crate::dlq::filter::Filter;
use crate::dlq::letter::Letter;
use crate::dlq::report::{APPROXIMATE, REASON_MAX, age, described, received, record_reveal};
use crate::dlq::scan::Enough;
use crate::error::{Ending, Error};
use crate::terminal::{clipped, print, span, table};

/// Columns of the longest user that is shown in full; a UUID is shorter.
const USER_MAX: usize = 40;

/// Characters of an id that are shown at least.
const ID_MIN: usize = 8;

/// What the column RECEIVED means.
const RECEIVED: &str = "RECEIVED counts deliveries to the function before death.\nWhere the queue moved a \
    message itself (reason unknown) it\nis the queue's own count, to which every look adds one.";

/// Lists letters.
///
/// # Errors
/// The queue does not answer, or the audit log cannot be written.
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

/// Rows that say how each letter died.
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

/// Rows that say whose each letter is.
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

/// How many characters it takes to tell the ids of these letters apart. An id shown so far can be given to
/// `show`.
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

fn largest_unit(duration: Duration) -> String {
    let text = span(duration);
    text.split(' ').next().unwrap_or_default().to_owned()
}
