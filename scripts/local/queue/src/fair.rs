//! Fair queues: what is in flight in one queue, and whose messages have to wait for others. Pure.
//!
//! The rules are those of the SQS Developer Guide, "How Amazon SQS fair queues work" (read in
//! November 2026):
//!
//! - A group is the messages with one MessageGroupId. A message without one is a group by itself.
//! - A group is noisy when it has more than 10 % of the queue's messages in flight and at least 30
//!   in flight, or when more than 10 % of the receivers' recent processing time was spent on it.
//! - Receivers get the messages of quiet groups as long as there are any. After these, the noisy
//!   group with the fewest messages in flight comes first.
//! - A noisy group is quiet again when its backlog is used up, or when it has sent nothing for five
//!   minutes.
//!
//! The guide says neither what is recent nor what processing time is. Here the time of a message
//! runs from its receive until it is deleted or visible again, and is counted when it ends; recent
//! is [`RECENT_MS`]. A group that is quiet again begins anew: the time spent on it before is
//! forgotten. SQS's thresholds are approximate, ours are exact.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

/// A group is noisy above this share of the messages in flight, or of the processing time.
const SHARE_PERCENT: u64 = 10;
/// A group with fewer messages in flight is not noisy, whatever its share of them is.
const IN_FLIGHT_MIN: usize = 30;
/// A group that has sent nothing for so long is quiet.
const SILENCE_MS: i64 = 5 * 60 * 1_000;
/// Processing time is forgotten after this time, at the latest after twice as long. Short, because
/// a group that begins to flood the queue is found when it has a tenth of the time in it.
const RECENT_MS: i64 = 1_000;

/// A MessageGroupId.
pub(crate) type Group = Arc<str>;

/// The messages of one queue that are in flight, and the groups that have any or had some recently.
#[derive(Default)]
pub(crate) struct Flight {
    messages: HashMap<i64, InFlight>,
    /// When each becomes visible, and its number. Entries of messages that have left since, or that
    /// stay longer by now, are skipped.
    ends: BinaryHeap<Reverse<(i64, i64)>>,
    groups: HashMap<Group, State>,
    time: Recent,
    swept_ms: i64,
}

struct InFlight {
    group: Option<Group>,
    since_ms: i64,
    until_ms: i64,
}

/// What is known of a group.
#[derive(Default)]
struct State {
    in_flight: usize,
    time: Recent,
    is_noisy: bool,
    last_sent_ms: i64,
}

impl Flight {
    /// How many messages are in flight.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// When the next message in flight becomes visible.
    pub(crate) fn next_end_ms(&self) -> Option<i64> {
        self.ends.peek().map(|Reverse((until_ms, _))| *until_ms)
    }

    /// A message is in flight from now on, or for another time than before.
    pub(crate) fn put(&mut self, number: i64, group: Option<&str>, since_ms: i64, until_ms: i64) {
        self.take_out(number);
        let group = group.map(|name| {
            let known = self.groups.get_key_value(name).map(|(group, _)| Arc::clone(group));
            let group = known.unwrap_or_else(|| name.into());
            self.groups.entry(Arc::clone(&group)).or_default().in_flight += 1;
            group
        });
        self.messages.insert(number, InFlight { group, since_ms, until_ms });
        self.ends.push(Reverse((until_ms, number)));
    }

    /// A message of this group was sent then.
    pub(crate) fn sent(&mut self, group: Option<&str>, sent_ms: i64) {
        if let Some(state) = group.and_then(|group| self.groups.get_mut(group)) {
            state.last_sent_ms = state.last_sent_ms.max(sent_ms);
        }
    }

    /// A message is deleted or visible again. Nothing happens where it was not in flight.
    pub(crate) fn end(&mut self, number: i64, now_ms: i64) {
        let Some(InFlight { group, since_ms, .. }) = self.take_out(number) else {
            return;
        };
        // In whole milliseconds, and at least one: every message takes some time.
        let took_ms = u64::try_from(now_ms - since_ms).unwrap_or_default().max(1);
        self.time.add(now_ms, took_ms);
        if let Some(state) = group.and_then(|group| self.groups.get_mut(&group)) {
            state.time.add(now_ms, took_ms);
        }
    }

    fn take_out(&mut self, number: i64) -> Option<InFlight> {
        let message = self.messages.remove(&number)?;
        if let Some(state) = message.group.as_ref().and_then(|group| self.groups.get_mut(group)) {
            state.in_flight -= 1;
        }
        Some(message)
    }

    /// Brings everything up to this time: what is visible again is not in flight any more.
    pub(crate) fn advance(&mut self, now_ms: i64) {
        while self.next_end_ms().is_some_and(|until_ms| until_ms <= now_ms) {
            let Some(Reverse((until_ms, number))) = self.ends.pop() else { break };
            if self.messages.get(&number).is_some_and(|message| message.until_ms == until_ms) {
                self.end(number, until_ms);
            }
        }
        if now_ms - self.swept_ms >= RECENT_MS {
            self.swept_ms = now_ms;
            self.groups.retain(|_, state| {
                state.in_flight > 0 || state.is_noisy || state.time.total(now_ms) > 0
            });
        }
    }

    /// Whether a message of this group has to wait for the quiet ones.
    pub(crate) fn is_noisy(&mut self, group: Option<&str>, now_ms: i64) -> bool {
        let Some(state) = group.and_then(|group| self.groups.get_mut(group)) else {
            return false;
        };
        if !state.is_noisy && now_ms - state.last_sent_ms < SILENCE_MS {
            let (own, all) = (count(state.in_flight), count(self.messages.len()));
            let has_many = state.in_flight >= IN_FLIGHT_MIN && exceeds_share(own, all);
            state.is_noisy =
                has_many || exceeds_share(state.time.total(now_ms), self.time.total(now_ms));
        }
        state.is_noisy
    }

    /// The noisy groups, in order of their names.
    pub(crate) fn noisy(&self) -> Vec<Group> {
        let noisy = self.groups.iter().filter(|(_, state)| state.is_noisy);
        let mut noisy: Vec<Group> = noisy.map(|(group, _)| Arc::clone(group)).collect();
        noisy.sort_unstable();
        noisy
    }

    /// The noisy groups that have sent nothing for so long that they are to be quiet.
    pub(crate) fn silent(&self, now_ms: i64) -> Vec<Group> {
        let is_silent = |state: &State| state.is_noisy && now_ms - state.last_sent_ms >= SILENCE_MS;
        let silent = self.groups.iter().filter(|(_, state)| is_silent(state));
        silent.map(|(group, _)| Arc::clone(group)).collect()
    }

    /// How many messages of this group are in flight.
    pub(crate) fn in_flight(&self, group: &str) -> usize {
        self.groups.get(group).map_or(0, |state| state.in_flight)
    }

    /// The group was noisy when the process ended that wrote the database.
    pub(crate) fn restore_noisy(&mut self, group: &str, now_ms: i64) {
        let state = self.groups.entry(group.into()).or_default();
        (state.is_noisy, state.last_sent_ms) = (true, now_ms);
    }

    /// The group is quiet and begins anew.
    pub(crate) fn calm(&mut self, group: &str) {
        if let Some(state) = self.groups.get_mut(group) {
            (state.is_noisy, state.time) = (false, Recent::default());
        }
    }
}

fn exceeds_share(own: u64, all: u64) -> bool {
    own.saturating_mul(100) > all.saturating_mul(SHARE_PERCENT)
}

fn count(messages: usize) -> u64 {
    u64::try_from(messages).unwrap_or(u64::MAX)
}

/// A sum of times, of the current period of [`RECENT_MS`] and of the one before.
#[derive(Default)]
struct Recent {
    period: i64,
    current_ms: u64,
    previous_ms: u64,
}

impl Recent {
    fn add(&mut self, now_ms: i64, took_ms: u64) {
        self.advance(now_ms);
        self.current_ms += took_ms;
    }

    fn total(&mut self, now_ms: i64) -> u64 {
        self.advance(now_ms);
        self.current_ms + self.previous_ms
    }

    fn advance(&mut self, now_ms: i64) {
        let period = now_ms / RECENT_MS;
        if period > self.period {
            let is_next = period == self.period + 1;
            self.previous_ms = if is_next { self.current_ms } else { 0 };
            self.current_ms = 0;
            self.period = period;
        }
    }
}
