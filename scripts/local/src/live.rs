//! What goes through the pipeline, counted as it happens, at the bottom of the terminal.
//!
//! The counts come from the gateway's answers, the functions' log and the queues. The tables are not asked:
//! that would slow them down. Without a terminal nothing is counted.

use std::collections::{HashSet, VecDeque};
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::middleware::{Next, from_fn};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use queue::{Counts, Queues};

/// How often the line is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(250);
/// The ticks over which the rate is measured: two seconds.
const RATE_TICKS: usize = 8;
/// How many stored payments are remembered, so that their repeated deliveries are not counted again.
const REMEMBERED_MAX: usize = 65_536;
/// A line of the log that was shown is shown again only after it has not come for so long.
const QUIET: Duration = Duration::from_secs(60);
/// How many different lines of the log are remembered.
const LINES_MAX: usize = 64;

/// The terminal with its counters; without a terminal, nothing is drawn. Clones share the counters.
#[derive(Clone)]
pub struct Live {
    line: ProgressBar,
    counters: Option<Arc<Counters>>,
    logged: Arc<Mutex<Logged>>,
}

/// The newest lines of the log, without their times, and when each came last. When the disk is full, for
/// example, every request fails with the same line, and one of them says it all.
#[derive(Debug, Default)]
struct Logged(VecDeque<(String, Instant)>);

#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    stored: AtomicU64,
    duplicates: AtomicU64,
    refused: AtomicU64,
    retried: AtomicU64,
    remembered: Mutex<Remembered>,
}

/// The newest requests whose payment was stored: a message that is delivered again is not counted again.
#[derive(Debug, Default)]
struct Remembered {
    order: VecDeque<String>,
    requests: HashSet<String>,
}

/// The part of a function's log line that is counted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    outcome: String,
    request_id: String,
}

impl Live {
    /// Counters on standard error when it is a terminal, nothing otherwise.
    #[must_use]
    pub fn on_terminal() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { line: ProgressBar::hidden(), counters: None, logged: Arc::default() };
        }
        let style = ProgressStyle::with_template("{msg}").expect("the template is ours");
        let line = ProgressBar::new_spinner().with_style(style);
        Self { line, counters: Some(Arc::default()), logged: Arc::default() }
    }

    /// Writes text above the counters.
    pub fn print(&self, text: &str, mut to: impl Write) {
        // A terminal that is gone is no reason to stop.
        self.line.suspend(|| drop(to.write_all(text.as_bytes())));
    }

    /// Counts the submissions that this router accepts.
    pub fn counting(&self, router: Router) -> Router {
        let Some(counters) = self.counters.clone() else { return router };
        router.layer(from_fn(move |request: Request<Body>, next: Next| {
            let counters = Arc::clone(&counters);
            async move {
                let submits = request.method() == Method::PUT;
                let answer = next.run(request).await;
                if submits && answer.status() == StatusCode::OK {
                    counters.accepted.fetch_add(1, Ordering::Relaxed);
                }
                answer
            }
        }))
    }

    /// Counts what a line of a function's log says.
    pub fn observe(&self, line: &str) {
        if let Some(counters) = &self.counters {
            counters.observe(line);
        }
    }

    /// Draws the counters until the task is aborted.
    #[must_use]
    pub fn draw(&self, queues: Queues, queue: &'static str, dead: &'static str) -> JoinHandle<()> {
        let live = self.clone();
        tokio::spawn(async move {
            let Some(counters) = live.counters else { return };
            let mut ticks = tokio::time::interval(DRAWN_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut stored = VecDeque::from([0; RATE_TICKS]);
            loop {
                ticks.tick().await;
                // Counts that cannot be read now are read at the next tick.
                let counts = (queues.counts(queue).await, queues.counts(dead).await);
                let (Ok(waiting), Ok(dead)) = counts else { continue };
                let now = counters.stored.load(Ordering::Relaxed);
                let before = stored.pop_front().unwrap_or_default();
                stored.push_back(now);
                live.line.set_message(counters.text(waiting, dead, (now - before) / 2));
            }
        })
    }

    /// Leaves the counters as they are, above whatever is printed next.
    pub fn finish(&self) {
        let last = self.line.message();
        self.line.finish_and_clear();
        if !last.is_empty() {
            eprintln!("{last}");
        }
    }
}

impl Counters {
    fn observe(&self, line: &str) {
        // Only these lines are counted, and parsing the others would take time.
        if !line.contains(r#""outcome":"#) {
            return;
        }
        let Ok(Outcome { outcome, request_id }) = serde_json::from_str(line) else { return };
        let counter = match outcome.as_str() {
            "stored" if self.is_known(request_id) => return,
            "stored" => &self.stored,
            "duplicate" => &self.duplicates,
            "refused" => &self.refused,
            "retry" => &self.retried,
            // Dead letters are counted in their queue, because the main queue moves some there by itself.
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn is_known(&self, request_id: String) -> bool {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if !remembered.requests.insert(request_id.clone()) {
            return true;
        }
        remembered.order.push_back(request_id);
        if remembered.order.len() > REMEMBERED_MAX
            && let Some(oldest) = remembered.order.pop_front()
        {
            remembered.requests.remove(&oldest);
        }
        false
    }

    fn text(&self, queue: Counts, dead: Counts, per_second: u64) -> String {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let dead = dead.visible + dead.in_flight + dead.delayed;
        format!(
            "accepted {} · stored {} · duplicates {} · refused {} · retried {} · dead {dead} · \
             waiting {} · in flight {} · {per_second}/s",
            value(&self.accepted),
            value(&self.stored),
            value(&self.duplicates),
            value(&self.refused),
            value(&self.retried),
            queue.visible + queue.delayed,
            queue.in_flight,
        )
    }
}

impl Logged {
    /// Whether a line of the log is to be shown: not if the same words came within [`QUIET`].
    fn is_news(&mut self, line: &str, now: Instant) -> bool {
        // A line begins with its time, followed by a blank.
        let words = line.split_once(' ').map_or(line, |(_, words)| words);
        let known = self.0.iter().position(|(known, _)| known == words);
        let known = known.and_then(|position| self.0.remove(position));
        self.0.push_back((words.to_owned(), now));
        if self.0.len() > LINES_MAX {
            self.0.pop_front();
        }
        known.is_none_or(|(_, last)| now.saturating_duration_since(last) >= QUIET)
    }
}

/// Where the log goes: to standard error, above the counters. A line is left out while the same words keep
/// coming.
pub struct Above(pub Live);

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut logged = self.0.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_news(&String::from_utf8_lossy(bytes), Instant::now()) {
            self.0.line.suspend(|| std::io::stderr().write_all(bytes))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(outcome: &str, request: &str) -> String {
        format!(r#"{{"level":"INFO","outcome":"{outcome}","requestId":"{request}"}}"#)
    }

    #[test]
    fn an_outcome_is_counted_and_a_message_stored_twice_is_counted_once() {
        let counters = Counters::default();
        for (outcome, request) in [
            ("stored", "a"),
            ("stored", "a"),
            ("stored", "b"),
            ("duplicate", "c"),
            ("refused", "d"),
            ("retry", "e"),
            ("retry", "e"),
            ("dead", "e"),
        ] {
            counters.observe(&line(outcome, request));
        }
        counters.observe("no JSON");
        counters.observe(r#"{"outcome":"stored"}"#);
        let queue = Counts { visible: 4, in_flight: 3, delayed: 2 };
        let dead = Counts { visible: 1, in_flight: 0, delayed: 0 };
        assert_eq!(
            counters.text(queue, dead, 7),
            "accepted 0 · stored 2 · duplicates 1 · refused 1 · retried 2 · dead 1 · waiting 6 · \
             in flight 3 · 7/s"
        );
    }

    #[test]
    fn the_same_words_are_logged_once_until_they_have_been_away() {
        let mut logged = Logged::default();
        let start = Instant::now();
        let mut shown = 0;
        for request in 0..1_296 {
            let line =
                format!("2026-11-26T10:00:{request:02}Z ERROR queue commit failed: disk full");
            let now = start + Duration::from_secs(request);
            shown += usize::from(logged.is_news(&line, now));
        }
        assert_eq!(shown, 1);
        let (last, words) =
            (start + Duration::from_secs(1_295), "T ERROR queue commit failed: disk full");
        assert!(logged.is_news("T ERROR another fault", last));
        assert!(!logged.is_news(words, last + QUIET - Duration::from_millis(1)));
        assert!(logged.is_news(words, last + QUIET * 2));
        for other in 0..LINES_MAX {
            assert!(logged.is_news(&format!("T WARN {other}"), last));
        }
        assert_eq!(logged.0.len(), LINES_MAX);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let counters = Counters::default();
        for request in 0..=REMEMBERED_MAX {
            assert!(!counters.is_known(request.to_string()));
        }
        assert!(counters.is_known(REMEMBERED_MAX.to_string()));
        assert!(!counters.is_known("0".to_owned()), "the oldest is forgotten");
    }
}
