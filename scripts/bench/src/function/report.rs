//! What the comparison found, as Markdown for `scripts/bench/README.md` and as JSON.

use std::fmt;

use serde::Serialize;

/// What the comparison found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How often everything was measured.
    pub rounds: usize,
    /// Batches.
    pub rows: Vec<Row>,
    /// Starts of new processes.
    pub cold_starts: Vec<ColdStart>,
    /// Size of the function's zip.
    pub zip_bytes: u64,
}

/// Batches of one size through one function.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The function.
    pub function: &'static str,
    /// What the table took for a put.
    pub latency_ms: u64,
    /// Records of a batch.
    pub records: usize,
    /// From the event handed over to the response; the median of a process's batches.
    pub batch_us: Spread,
    /// Processor time of all the function's threads for one record.
    pub cpu_ns_per_message: Spread,
    /// The most memory that was resident.
    pub peak_memory_kib: Spread,
}

/// Starts of new processes of one function.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ColdStart {
    /// The function.
    pub function: &'static str,
    /// Memory whose share of a core it had; none for a whole core.
    pub memory_mb: Option<u64>,
    /// From the start of the process to its first poll.
    pub first_poll_us: Spread,
    /// From the start of the process to its answer to a first batch of ten.
    pub first_batch_us: Spread,
}

/// A median and what it was taken of.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Spread {
    /// Half of the values are at most this.
    pub median: u64,
    /// The least.
    pub min: u64,
    /// The greatest.
    pub max: u64,
}

impl Spread {
    /// The spread of one or more values; zeros of none.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = u64>) -> Spread {
        let mut values: Vec<u64> = values.into_iter().collect();
        values.sort_unstable();
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        Spread { median: at(values.len() / 2), min: at(0), max: at(values.len().saturating_sub(1)) }
    }
}

/// A number of thousandths with three significant digits or more.
fn thousandths(value: u64) -> String {
    match value {
        0..10_000 => format!("{}.{:02}", value / 1_000, value % 1_000 / 10),
        10_000..100_000 => format!("{}.{}", value / 1_000, value % 1_000 / 100),
        _ => (value / 1_000).to_string(),
    }
}

/// How many times the second is the first.
fn ratio(one: u64, other: u64) -> String {
    let tenths = other.saturating_mul(10) / one.max(1);
    if tenths < 200 {
        format!("{}.{}x", tenths / 10, tenths % 10)
    } else {
        format!("{}x", tenths / 10)
    }
}

fn spread(spread: &Spread) -> String {
    let Spread { median, min, max } = *spread;
    format!("{} ({}–{})", thousandths(median), thousandths(min), thousandths(max))
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "| put takes, batch | function | ms per batch | messages/s | CPU µs/message | peak RSS MB \
             | time against it | CPU against it |\n|---|---|---|---|---|---|---|---|"
        )?;
        for row in &self.rows {
            let same =
                |other: &&Row| (other.latency_ms, other.records) == (row.latency_ms, row.records);
            let ours = self.rows.iter().find(same).unwrap_or(row);
            let records = u64::try_from(row.records).unwrap_or(u64::MAX);
            writeln!(
                formatter,
                "| {} ms, {records} | {} | {} | {} | {} | {} | {} | {} |",
                row.latency_ms,
                row.function,
                spread(&row.batch_us),
                records.saturating_mul(1_000_000) / row.batch_us.median.max(1),
                spread(&row.cpu_ns_per_message),
                row.peak_memory_kib.median / 1_024,
                ratio(ours.batch_us.median, row.batch_us.median),
                ratio(ours.cpu_ns_per_message.median, row.cpu_ns_per_message.median),
            )?;
        }
        writeln!(
            formatter,
            "\n| cold start | function | ms to the first poll | ms to ten answered | against it \
             |\n|---|---|---|---|---|"
        )?;
        for start in &self.cold_starts {
            let same = |other: &&ColdStart| other.memory_mb == start.memory_mb;
            let ours = self.cold_starts.iter().find(same).unwrap_or(start);
            let core =
                start.memory_mb.map_or("one core".to_owned(), |mb| format!("{mb} MB's share"));
            writeln!(
                formatter,
                "| {core} | {} | {} | {} | {} |",
                start.function,
                spread(&start.first_poll_us),
                spread(&start.first_batch_us),
                ratio(ours.first_batch_us.median, start.first_batch_us.median),
            )?;
        }
        let Report { rounds, zip_bytes, .. } = self;
        write!(
            formatter,
            "\nMedians (least–most) of {rounds} rounds; the function's zip has {} MB.",
            thousandths(zip_bytes / 1_000)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_with_the_digits_that_they_have() {
        for (value, text) in [(0, "0.00"), (1_239, "1.23"), (12_390, "12.3"), (123_900, "123")] {
            assert_eq!(thousandths(value), text);
        }
        for (one, other, text) in [(100, 100, "1.0x"), (41, 676, "16.4x"), (10, 450, "45x")] {
            assert_eq!(ratio(one, other), text);
        }
    }

    #[test]
    fn a_spread_has_the_middle_and_both_ends() {
        let Spread { median, min, max } = Spread::of([3, 9, 1, 4, 5]);
        assert_eq!((median, min, max), (4, 1, 9));
        assert_eq!(Spread::of([]).max, 0);
    }
}
