//! Open and closed loops.
//!
//! The open loop sends at a given rate, whatever the answers take, and measures from the moment at which
//! a submission was due. The closed loop sends the next submission on a connection as soon as the one
//! before is answered: it shows how much goes through, and its latencies are those of a client that
//! waits its turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::account::Accepted;

/// The longest latency that is told apart: ten minutes, in microseconds.
const LATENCY_US_MAX: u64 = 10 * 60 * 1_000_000;
/// Submissions that wait for their turn to be sent, at the most.
const DUE_MAX: usize = 65_536;

/// How to submit.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Submissions at the most.
    pub count: usize,
    /// Time after which no more are sent.
    pub time_max: Duration,
    /// Submissions per second; none for a closed loop.
    pub rate: Option<u32>,
    /// Connections of the closed loop.
    pub connections: usize,
}

/// What was sent.
#[derive(Debug)]
pub struct Sent {
    /// The accepted submissions.
    pub accepted: Vec<Accepted>,
    /// Submissions with another answer, or none.
    pub failed: usize,
    /// From due to answered, in microseconds.
    pub latency_us: Histogram<u64>,
    /// From the first one due to the last one answered.
    pub elapsed: Duration,
    /// When the first one was due, in milliseconds since 1970.
    pub started_ms: i64,
}

/// One submission on its way.
#[derive(Debug, Clone)]
pub struct Due {
    /// Its place in the run.
    pub index: usize,
    /// The payment.
    pub payment_id: String,
    /// When it was due.
    pub at: Instant,
}

impl Due {
    fn now(index: usize) -> Due {
        Due { index, payment_id: Uuid::new_v4().to_string(), at: Instant::now() }
    }
}

/// An empty histogram of microseconds.
///
/// # Panics
/// Never: the bounds are ours.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are valid")
}

/// Records the time since `at`.
pub fn record(histogram: &mut Histogram<u64>, at: Instant) {
    histogram.saturating_record(u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX));
}

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Sent {
    fn new() -> Sent {
        Sent {
            accepted: Vec::new(),
            failed: 0,
            latency_us: histogram(),
            elapsed: Duration::ZERO,
            started_ms: now_ms(),
        }
    }

    /// Counts an answer that came just now: the id of the request, or none.
    fn answered(&mut self, due: Due, request_id: Option<String>) {
        let Some(request_id) = request_id else {
            self.failed += 1;
            return;
        };
        let waited_ms = i64::try_from(due.at.elapsed().as_millis()).unwrap_or(i64::MAX);
        record(&mut self.latency_us, due.at);
        let due_ms = now_ms().saturating_sub(waited_ms);
        self.accepted.push(Accepted { payment_id: due.payment_id, request_id, due_ms });
    }

    fn add(&mut self, other: Sent) {
        self.accepted.extend(other.accepted);
        self.failed += other.failed;
        // Both have the same bounds.
        self.latency_us += other.latency_us;
    }
}

/// Submits until the count or the time is used up. `submit` gives the id of the accepted request.
pub async fn run<S, F>(load: Load, bar: &ProgressBar, submit: S) -> Sent
where
    S: Fn(Due) -> F + Clone + Send + 'static,
    F: Future<Output = Option<String>> + Send + 'static,
{
    let started = Instant::now();
    let mut sent = match load.rate {
        Some(rate) => open(load, rate, bar, submit).await,
        None => closed(load, bar, submit).await,
    };
    sent.elapsed = started.elapsed();
    sent
}

async fn open<S, F>(load: Load, rate: u32, bar: &ProgressBar, submit: S) -> Sent
where
    S: Fn(Due) -> F,
    F: Future<Output = Option<String>> + Send + 'static,
{
    let (turns, mut due) = mpsc::channel(DUE_MAX);
    // The runtime's timer counts in milliseconds; a thread's sleep is good to some microseconds.
    let pacer = std::thread::spawn(move || pace(load, rate.max(1), &turns));
    let mut sent = Sent::new();
    let mut under_way = JoinSet::new();
    let mut answered = |done: Result<(Due, Option<String>), tokio::task::JoinError>| {
        bar.inc(1);
        if let Ok((due, request_id)) = done {
            sent.answered(due, request_id);
        }
    };
    loop {
        tokio::select! {
            turn = due.recv() => {
                let Some(turn) = turn else { break };
                let submission = submit(Due::clone(&turn));
                under_way.spawn(async move { (turn, submission.await) });
            }
            Some(done) = under_way.join_next() => answered(done),
        }
    }
    while let Some(done) = under_way.join_next().await {
        answered(done);
    }
    // It ended when it closed the channel.
    pacer.join().ok();
    sent
}

/// Gives out turns, each at its time.
fn pace(load: Load, rate: u32, turns: &mpsc::Sender<Due>) {
    let started = Instant::now();
    for index in 0..load.count {
        let nanos = u128::try_from(index).unwrap_or_default() * 1_000_000_000 / u128::from(rate);
        let after = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        if after > load.time_max {
            return;
        }
        std::thread::sleep((started + after).saturating_duration_since(Instant::now()));
        let turn = Due { at: started + after, ..Due::now(index) };
        if turns.blocking_send(turn).is_err() {
            return;
        }
    }
}

async fn closed<S, F>(load: Load, bar: &ProgressBar, submit: S) -> Sent
where
    S: Fn(Due) -> F + Clone + Send + 'static,
    F: Future<Output = Option<String>> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut connections = JoinSet::new();
    for _ in 0..load.connections.max(1) {
        let (next, bar, submit) = (Arc::clone(&next), bar.clone(), submit.clone());
        connections.spawn(async move {
            let mut sent = Sent::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= load.count || started.elapsed() > load.time_max {
                    return sent;
                }
                let due = Due::now(index);
                let request_id = submit(due.clone()).await;
                sent.answered(due, request_id);
                bar.inc(1);
            }
        });
    }
    let mut all = Sent::new();
    while let Some(connection) = connections.join_next().await {
        if let Ok(sent) = connection {
            all.add(sent);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stall_shows_in_every_submission_that_was_due_meanwhile() {
        let load = Load {
            count: 20,
            time_max: Duration::from_secs(10),
            rate: Some(1_000),
            connections: 1,
        };
        let gate = Arc::new(tokio::sync::Notify::new());
        let submit = {
            let gate = Arc::clone(&gate);
            move |due: Due| {
                let gate = Arc::clone(&gate);
                async move {
                    match due.index {
                        // The last one ends the stall of all the others.
                        19 => gate.notify_waiters(),
                        _ => gate.notified().await,
                    }
                    Some(due.index.to_string())
                }
            }
        };
        let sent = run(load, &ProgressBar::hidden(), submit).await;
        assert_eq!((sent.accepted.len(), sent.failed), (20, 0));
        assert!(sent.latency_us.max() >= 19_000, "{}", sent.latency_us.max());
        assert!(sent.elapsed >= Duration::from_millis(19));
    }

    #[tokio::test]
    async fn the_closed_loop_sends_each_submission_once_and_counts_what_fails() {
        let load =
            Load { count: 100, time_max: Duration::from_secs(10), rate: None, connections: 7 };
        let submit =
            |due: Due| async move { (!due.index.is_multiple_of(4)).then(|| due.index.to_string()) };
        let sent = run(load, &ProgressBar::hidden(), submit).await;
        assert_eq!((sent.accepted.len(), sent.failed), (75, 25));
        let ids: std::collections::HashSet<_> =
            sent.accepted.iter().map(|accepted| &accepted.request_id).collect();
        assert_eq!(ids.len(), 75);
    }
}
