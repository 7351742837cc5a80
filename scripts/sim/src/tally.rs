//! What a run has seen: without the faults and the branches that it reached, a number of histories
//! says nothing.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use function::dead_letter::DeadReason;

use crate::faults::{Fault, Place};

/// An outcome and what tells it from the others of its name.
pub type Branch = (&'static str, &'static str);

/// Every branch of the outcome table.
#[must_use]
pub fn branches() -> Vec<Branch> {
    let mut branches = vec![("stored", "now"), ("stored", "before"), ("duplicate", "")];
    let refused = ["malformed", "invalid", "owner_mismatch", "conflict"];
    branches.extend(refused.map(|reason| ("refused", reason)));
    // Every message here is a payment, and only the operator's tool does not know a reason.
    let is_reached =
        |reason: &DeadReason| !matches!(reason, DeadReason::UnknownKind | DeadReason::Unknown);
    let reasons = || DeadReason::ALL.into_iter().filter(is_reached).map(DeadReason::name);
    branches.extend(reasons().map(|reason| ("dead", reason)));
    branches.extend(reasons().map(|reason| ("retry", reason)));
    branches.push(("moved by the queue", ""));
    branches
}

/// Where a process can be killed: before and after the effect of each call, before anything is done,
/// and before the acknowledgement.
#[must_use]
pub fn crash_points() -> Vec<Branch> {
    let calls = ["put", "read", "record", "dead letter", "postpone"];
    let mut points: Vec<Branch> =
        calls.iter().flat_map(|call| [("before", *call), ("after", *call)]).collect();
    points.extend([("before", "anything"), ("before", "acknowledgement")]);
    points
}

/// Counts of one history or of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Histories.
    pub histories: u64,
    /// Accepted submissions.
    pub messages: u64,
    /// Deliveries of them to the function.
    pub deliveries: u64,
    /// Invocations of the function.
    pub invocations: u64,
    /// Simulated seconds.
    pub seconds: u64,
    /// Faults by kind and place.
    pub faults: BTreeMap<(Fault, Place), u64>,
    /// Records that were under way when their process was killed, by where they were.
    pub crashes: BTreeMap<Branch, u64>,
    /// Outcomes by branch.
    pub outcomes: BTreeMap<Branch, u64>,
}

impl Tally {
    /// Adds another tally's counts.
    pub fn add(&mut self, other: &Tally) {
        self.histories += other.histories;
        self.messages += other.messages;
        self.deliveries += other.deliveries;
        self.invocations += other.invocations;
        self.seconds += other.seconds;
        for (kind, count) in &other.faults {
            *self.faults.entry(*kind).or_default() += count;
        }
        for (point, count) in &other.crashes {
            *self.crashes.entry(*point).or_default() += count;
        }
        for (branch, count) in &other.outcomes {
            *self.outcomes.entry(*branch).or_default() += count;
        }
    }

    /// Branches, crash points and kinds of faults that were never reached.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let words = |what: &str, (name, detail): Branch| format!("{what} {name} {detail}");
        let branches = branches().into_iter().filter(|branch| !self.outcomes.contains_key(branch));
        let points = crash_points().into_iter().filter(|point| !self.crashes.contains_key(point));
        let struck = |fault: Fault| self.faults.keys().any(|(known, _)| *known == fault);
        let faults = Fault::ALL.iter().filter(|fault| !struck(**fault));
        branches
            .map(|branch| words("outcome", branch))
            .chain(points.map(|point| words("killed", point)))
            .chain(faults.map(|fault| format!("fault {fault}")))
            .collect()
    }

    /// The summary of a run that took so long.
    #[must_use]
    pub fn summary(&self, took: Duration) -> String {
        let rate = u128::from(self.histories) * 1000 / took.as_millis().max(1);
        let mut out = String::new();
        let mut row = |name: &str, value: u64| {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{value:>12}  {name}");
        };
        row("histories", self.histories);
        row("histories a second", u64::try_from(rate).unwrap_or(u64::MAX));
        row("messages", self.messages);
        row("deliveries", self.deliveries);
        row("invocations", self.invocations);
        row("simulated days", self.seconds / (24 * 60 * 60));
        row("faults", self.faults.values().sum());
        for ((fault, place), count) in &self.faults {
            row(&format!("  {fault} {place}"), *count);
        }
        row("records under way in a killed process", self.crashes.values().sum());
        for ((when, what), count) in &self.crashes {
            row(&format!("  {when} {what}"), *count);
        }
        row("outcomes", self.outcomes.values().sum());
        for ((outcome, detail), count) in &self.outcomes {
            row(&format!("  {outcome} {detail}"), *count);
        }
        out
    }
}
