//! What a run found, as a table for people and as JSON for machines. Times in microseconds.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::account::Account;

/// Points of the queue's depth in the table.
const DEPTHS_SHOWN: usize = 12;

/// What a run found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Submissions per second that were asked for; none for the closed loop.
    pub rate: Option<u32>,
    /// Connections of the closed loop.
    pub connections: Option<usize>,
    /// The baseline: from due to answered, for a message that only is stored in the queue.
    pub bare: Latency,
    /// From due to the gateway's 200.
    pub put: Latency,
    /// From due until a reader sees the item in the table; the open loop only, a sample.
    pub seen: Latency,
    /// From due to the item's time stamp, for every stored payment. The function stamps it just before
    /// it stores the item, in whole milliseconds.
    pub stamped: Latency,
    /// Messages that the baseline stored per second.
    pub bare_per_second: u64,
    /// Payments answered 200 per second.
    pub accepted_per_second: u64,
    /// Payments per second end to end: from the first one due to the last one stored.
    pub stored_per_second: u64,
    /// Submissions without a 200, of the baseline too.
    pub failed: usize,
    /// Messages in the main queue over time.
    pub depth: Vec<Depth>,
    /// What became of what was accepted.
    pub account: Account,
    /// The machine's load average at the end.
    pub load_average: String,
}

/// Messages in the main queue at a time.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Depth {
    /// Since the load began.
    pub at_ms: u128,
    /// Visible, in flight or delayed.
    pub messages: u64,
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Half of them took at most so long.
    pub p50_us: u64,
    /// Nine in ten.
    pub p90_us: u64,
    /// Ninety-nine in a hundred.
    pub p99_us: u64,
    /// 999 in a thousand.
    pub p999_us: u64,
    /// All of them.
    pub max_us: u64,
}

impl Latency {
    /// The percentiles of a histogram of microseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Latency {
        Latency {
            count: histogram.len(),
            p50_us: histogram.value_at_quantile(0.5),
            p90_us: histogram.value_at_quantile(0.9),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        }
    }

    fn row(&self, name: &str) -> String {
        if self.count == 0 {
            return String::new();
        }
        let Latency { count, p50_us, p90_us, p99_us, p999_us, max_us } = *self;
        let values = [p50_us, p90_us, p99_us, p999_us, max_us].map(milliseconds);
        let values: String = values.iter().map(|value| format!("{value:>10}")).collect();
        format!("{name:<24}{count:>9}{values}\n")
    }
}

/// How many per second, in a time of milliseconds.
#[must_use]
pub fn per_second(count: usize, elapsed_ms: u128) -> u64 {
    let count = u128::try_from(count).unwrap_or(u128::MAX);
    u64::try_from(count.saturating_mul(1_000) / elapsed_ms.max(1)).unwrap_or(u64::MAX)
}

fn milliseconds(us: u64) -> String {
    format!("{}.{:02}", us / 1_000, us % 1_000 / 10)
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.rate, self.connections) {
            (Some(rate), _) => writeln!(formatter, "open loop, {rate}/s")?,
            (None, connections) => {
                writeln!(formatter, "closed loop, {} connections", connections.unwrap_or(1))?;
            }
        }
        let names = ["p50", "p90", "p99", "p99.9", "max"];
        let names: String = names.iter().map(|name| format!("{name:>10}")).collect();
        writeln!(formatter, "\n{:<24}{:>9}{names}", "milliseconds", "count")?;
        formatter.write_str(&self.bare.row("bare PUT to the queue"))?;
        formatter.write_str(&self.put.row("PUT to 200"))?;
        formatter.write_str(&self.seen.row("PUT to seen in table"))?;
        formatter.write_str(&self.stamped.row("PUT to item's stamp"))?;
        let Report { bare_per_second, accepted_per_second, stored_per_second, failed, .. } = self;
        writeln!(
            formatter,
            "\nper second: bare {bare_per_second}, accepted {accepted_per_second}, \
             stored end to end {stored_per_second}"
        )?;
        let step = self.depth.len().div_ceil(DEPTHS_SHOWN).max(1);
        let point = |depth: &Depth| format!(" {}:{}", depth.at_ms / 100 * 100, depth.messages);
        let points: String = self.depth.iter().step_by(step).map(point).collect();
        writeln!(formatter, "queue depth, ms:messages:{points}")?;
        let Account { accepted, stored, duplicates, refused, dead, lost, items_over_one, .. } =
            &self.account;
        writeln!(
            formatter,
            "accepted {accepted} = stored {stored} + duplicates {duplicates} + refused {refused} \
             + dead {dead} + lost {lost}; with two items {items_over_one}; failed {failed}",
            lost = lost.len()
        )?;
        write!(formatter, "load average {}", self.load_average)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::histogram;

    #[test]
    fn rates_are_per_second_and_rows_in_milliseconds() {
        assert_eq!(per_second(10, 2_000), 5);
        assert_eq!(per_second(10, 0), 10_000);
        let mut two = histogram();
        two.saturating_record(1_239);
        two.saturating_record(1_239);
        let row = Latency::of(&two).row("x");
        assert_eq!(row.split_whitespace().collect::<Vec<_>>()[..3], ["x", "2", "1.23"]);
        assert_eq!(Latency::of(&histogram()).row("x"), "");
    }
}
