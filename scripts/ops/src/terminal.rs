//! What people see: tables, bars, times; colour only on a terminal.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use schema::timestamp::rfc3339;

/// Every table that this tool prints fits into so many columns of a terminal.
pub(crate) const WIDTH_MAX: usize = 60;

/// Cells of the longest bar.
pub(crate) const BAR_MAX: usize = 30;

/// Prints to standard output. A closed pipe is no error: its reader, `head` for example, has seen enough.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Tells the operator, on standard error, what is not part of the answer.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The lines of a table without borders, one for the head and one for each row. The head is in bold where
/// there is colour. The caller sees to it that the columns fit into [`WIDTH_MAX`].
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(head.to_vec());
    table.add_rows(rows.iter().map(|row| row.iter().map(|cell| printable(cell))));
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    let mut lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    if let Some(head) = lines.first_mut() {
        *head = bold(head);
    }
    lines
}

/// A text that others wrote, as it may be shown on a terminal: it cannot move the cursor or hide anything.
/// Every invisible character is escaped, and so is every one that changes the direction of writing.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}

/// The beginning of a text that is too long for its column.
pub(crate) fn clipped(text: &str, width_max: usize) -> String {
    let text = printable(text);
    if text.chars().count() <= width_max {
        return text;
    }
    text.chars().take(width_max.saturating_sub(1)).chain(['…']).collect()
}

/// A bar for a count, as long as its share of the largest count.
pub(crate) fn bar(count: u64, largest: u64) -> String {
    let cells = (count * BAR_MAX as u64).div_ceil(largest.max(1));
    let bar = "█".repeat(usize::try_from(cells).unwrap_or(BAR_MAX).min(BAR_MAX));
    if has_colour() { format!("\u{1b}[36m{bar}\u{1b}[0m") } else { bar }
}

/// The two largest units of a duration: `3d 4h` or `12m 5s`.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(24 * 60 * 60, "d"), (60 * 60, "h"), (60, "m"), (1, "s")];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (length, unit) in units {
        if left >= length || (unit == "s" && parts.is_empty()) {
            parts.push(format!("{}{unit}", left / length));
        } else if !parts.is_empty() {
            break;
        }
        left %= length;
        if parts.len() == 2 {
            break;
        }
    }
    parts.join(" ")
}

/// A point in time for people: UTC, from month to minute. No queue keeps a message for a year.
pub(crate) fn minute_of(at_ms: i64) -> String {
    let text = rfc3339(at_ms);
    text.get(5..16).map_or(text.clone(), |text| text.replace('T', " "))
}

/// The beginning of a user's id: enough to tell two users apart, not enough to know one.
pub(crate) fn masked(text: &str) -> String {
    let short: String = text.chars().take(8).collect();
    if short.len() < text.len() { format!("{short}…") } else { "…".to_owned() }
}

/// A progress bar on standard error with rate and remaining time; hidden where that is no terminal.
pub(crate) fn progress(what: &'static str, count: u64) -> ProgressBar {
    let template = "{prefix} {wide_bar} {pos}/{len} · {per_sec} · {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar());
    ProgressBar::new(count).with_style(style).with_prefix(what)
}

/// A line on standard error that counts up; hidden where that is no terminal.
pub(crate) fn counting(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {prefix} {pos} {msg}");
    ProgressBar::no_length()
        .with_style(style.unwrap_or(ProgressStyle::default_spinner()))
        .with_prefix(what)
}

/// Whether standard output takes colour (see no-color.org).
fn has_colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && std::io::stdout().is_terminal()
}

fn bold(text: &str) -> String {
    if has_colour() { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_their_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m 1s"),
            (3_600, "1h"),
            (3_605, "1h"),
            (90_061, "1d 1h"),
            (14 * 86_400, "14d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_bar_is_as_long_as_its_share_and_never_empty_for_something() {
        for (count, largest, cells) in [(0, 0, 0), (1, 1_000, 1), (500, 1_000, 15), (7, 7, 30)] {
            assert_eq!(bar(count, largest).chars().count(), cells);
        }
    }

    #[test]
    fn nobody_writes_on_the_terminal_but_we() {
        for (text, shown) in [
            ("O'Brien \"\\\" Žižek 😀", "O'Brien \"\\\" Žižek 😀"),
            ("a\u{1b}[2Jb\r\n", "a\\u{1b}[2Jb\\r\\n"),
            ("\u{9b}1m\u{202e}\u{200b}\u{7f}", "\\u{9b}1m\\u{202e}\\u{200b}\\u{7f}"),
        ] {
            assert_eq!(printable(text), shown);
        }
        let lines = table(&["A", "B"], &[vec!["\u{1b}[31m\n".to_owned(), "x".to_owned()]]);
        assert_eq!(lines, ["A            B", "\\u{1b}[31m\\n x"]);
    }

    #[test]
    fn what_is_too_long_is_clipped() {
        assert_eq!(clipped("abc", 3), "abc");
        assert_eq!(clipped("abcd", 3), "ab…");
        assert_eq!(clipped("\u{1b}bcd", 6), "\\u{1b…");
    }

    #[test]
    fn a_masked_id_shows_its_beginning_and_a_short_one_nothing() {
        assert_eq!(masked("5f2c8d34-1b7e"), "5f2c8d34…");
        assert_eq!(masked("short"), "…");
    }
}
