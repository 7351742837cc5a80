//! Is the queue fair as SQS documents it (Developer Guide, "How Amazon SQS fair queues work")?
//!
//! Time stands still unless a test lets it pass, and a message that is not ended takes no processing
//! time: so each of the two measures can be tried without the other.

#![expect(clippy::unwrap_used, reason = "what fails in a helper fails its test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use queue::{Counts, Message, Queues, Received};
use tempfile::TempDir;

const MINUTE_MS: i64 = 60_000;

struct Fair {
    queues: Queues,
    clock: Arc<AtomicI64>,
    directory: TempDir,
}

fn open(directory: &TempDir, clock: &Arc<AtomicI64>) -> Queues {
    let time = Arc::clone(clock);
    let clock = Arc::new(move || time.load(Ordering::Relaxed));
    Queues::open_with_clock(&directory.path().join("queue.db"), "http://x", clock).unwrap()
}

impl Fair {
    async fn new() -> Fair {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(1_700_000_000_000));
        let queues = open(&directory, &clock);
        let attributes = [("VisibilityTimeout", "3600".to_owned())];
        queues.create("main", &attributes).await.unwrap();
        Fair { queues, clock, directory }
    }

    fn restart(self) -> Fair {
        let Fair { queues, clock, directory } = self;
        drop(queues);
        Fair { queues: open(&directory, &clock), clock, directory }
    }

    fn pass(&self, ms: i64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }

    /// Sends messages whose body is their group; without a group when that is empty.
    async fn send(&self, group: &str, count: usize) {
        let message = |_| {
            let message = Message::new(format!("{group}."), BTreeMap::new()).unwrap();
            if group.is_empty() { message } else { message.in_group(group).unwrap() }
        };
        for sent in self.queues.send("main", (0..count).map(message).collect()).await.unwrap() {
            sent.unwrap();
        }
    }

    async fn receive(&self, max: usize) -> Vec<Received> {
        self.queues.receive("main", max, Duration::ZERO).await.unwrap()
    }

    /// Receives messages and says of which groups: `AAB`.
    async fn groups(&self, max: usize) -> String {
        let received = self.receive(max).await;
        received.iter().map(|message| message.body.trim_end_matches('.')).collect()
    }

    async fn delete(&self, received: Vec<Received>) {
        let handles = received.into_iter().map(|message| message.receipt_handle).collect();
        self.queues.delete("main", handles).await.unwrap();
    }
}

#[tokio::test]
async fn a_group_yields_with_thirty_in_flight_and_not_with_fewer() {
    for (in_flight, next) in [(29, "AB"), (30, "BA")] {
        let fair = Fair::new().await;
        fair.send("A", 100).await;
        assert_eq!(fair.groups(in_flight).await.len(), in_flight);
        fair.send("B", 1).await;
        assert_eq!(fair.groups(2).await, next, "{in_flight} in flight");
    }
}

#[tokio::test]
async fn a_group_yields_with_over_a_tenth_in_flight_and_not_with_a_tenth() {
    for (others, next) in [(270, "AB"), (269, "BA")] {
        let fair = Fair::new().await;
        fair.send("", others).await;
        fair.send("A", 100).await;
        assert_eq!(fair.receive(others + 30).await.len(), others + 30);
        fair.send("B", 1).await;
        assert_eq!(fair.groups(2).await, next, "30 of {} in flight", others + 30);
    }
}

#[tokio::test]
async fn messages_without_a_group_are_never_noisy() {
    let fair = Fair::new().await;
    fair.send("", 200).await;
    assert_eq!(fair.receive(100).await.len(), 100);
    fair.send("B", 1).await;
    let received = fair.receive(100).await;
    assert!(received.iter().all(|message| message.body == "."), "B waits its turn");
}

#[tokio::test]
async fn a_group_yields_after_over_a_tenth_of_the_recent_processing_time() {
    for (a_ms, pause_ms, next) in [(100, 0, "AA"), (120, 0, "BA"), (900, 3_000, "AA")] {
        let fair = Fair::new().await;
        fair.send("A", 1).await;
        let received = fair.receive(1).await;
        fair.pass(a_ms);
        fair.delete(received).await;
        fair.send("C", 1).await;
        let received = fair.receive(1).await;
        fair.pass(1_000 - a_ms);
        fair.delete(received).await;
        fair.pass(pause_ms);
        fair.send("A", 100).await;
        fair.send("B", 1).await;
        assert_eq!(fair.groups(2).await, next, "{a_ms} ms of 1000, {pause_ms} ms ago");
    }
}

/// The more is in flight of one, the more the other gets, until both have as much.
#[tokio::test]
async fn of_noisy_groups_the_one_with_the_fewest_in_flight_comes_first() {
    let fair = Fair::new().await;
    fair.send("A", 100).await;
    assert_eq!(fair.groups(40).await.len(), 40);
    fair.send("B", 100).await;
    let next = fair.groups(20).await + &fair.groups(20).await;
    assert_eq!(next, "B".repeat(40));
    assert_eq!(fair.groups(6).await, "ABABAB");
    fair.send("C", 1).await;
    assert_eq!(fair.groups(2).await, "CA", "and a quiet one before both");
}

#[tokio::test]
async fn a_group_is_quiet_again_when_its_backlog_is_used_up() {
    let fair = Fair::new().await;
    fair.send("A", 45).await;
    let received = fair.receive(40).await;
    fair.send("B", 1).await;
    assert_eq!(fair.groups(1).await, "B", "A is noisy");
    fair.delete(received).await;
    // All of A's messages are received: a receive finds none, and A begins anew.
    assert_eq!(fair.groups(10).await, "AAAAA");
    fair.send("A", 1).await;
    fair.send("B", 1).await;
    assert_eq!(fair.groups(2).await, "AB", "in their order");
}

#[tokio::test]
async fn a_group_is_quiet_after_five_minutes_without_sending() {
    for (pause_ms, next) in [(5 * MINUTE_MS - 1, "BA"), (5 * MINUTE_MS, "AA")] {
        let fair = Fair::new().await;
        fair.send("A", 100).await;
        assert_eq!(fair.groups(40).await.len(), 40);
        fair.send("", 1).await;
        assert_eq!(fair.groups(1).await, "", "A yields");
        fair.pass(pause_ms);
        fair.send("B", 1).await;
        assert_eq!(fair.groups(2).await, next, "after {pause_ms} ms");
        assert_eq!(fair.queues.counts("main").await.unwrap().visible, 59);
    }
}

#[tokio::test]
async fn a_flood_of_a_hundred_thousand_delays_nobody_else_by_more_than_a_batch() {
    let fair = Fair::new().await;
    for _ in 0..10 {
        fair.send("A", 10_000).await;
    }
    // The batches that were received before anybody could tell that A is noisy.
    for _ in 0..4 {
        assert_eq!(fair.groups(10).await, "A".repeat(10));
    }
    for round in 0..20 {
        fair.send("B", 1).await;
        let batch = fair.receive(10).await;
        assert_eq!(batch[0].body, "B.", "round {round}");
        assert_eq!(batch.len(), 10, "the rest of the batch is A's");
        fair.delete(batch).await;
    }
    let counts = Counts { visible: 100_000 - 40 - 180, in_flight: 40, delayed: 0 };
    assert_eq!(fair.queues.counts("main").await.unwrap(), counts);
}

#[tokio::test]
async fn a_noisy_group_is_noisy_after_a_restart_and_a_message_that_comes_back_waits_again() {
    let fair = Fair::new().await;
    fair.send("A", 100).await;
    let received = fair.receive(40).await;
    fair.send("B", 1).await;
    assert_eq!(fair.groups(1).await, "B");
    fair.delete(received).await;
    let fair = fair.restart();
    assert_eq!(fair.queues.counts("main").await.unwrap().visible, 60);
    fair.send("B", 1).await;
    let received = fair.receive(2).await;
    assert_eq!(received[0].body, "B.", "A's messages are aside");
    // Their visibility timeout is over, and the processing time that it was is forgotten.
    fair.pass(3_605_000);
    fair.send("A", 1).await;
    fair.send("C", 1).await;
    assert!(fair.groups(3).await.starts_with("BBC"), "B's come back, then C, then A");
}

/// Whatever is quiet or noisy, restarted or not: every message comes once, and none is forgotten.
#[tokio::test]
async fn no_order_loses_a_message() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut fair = Fair::new().await;
    let (mut sent, mut held, mut received) = (0, Vec::new(), BTreeSet::new());
    for _ in 0..400 {
        match random.u8(..100) {
            0..40 => {
                let group = ["", "A", "B", "C"][random.usize(..4)];
                let count = random.usize(..if group == "A" { 200 } else { 10 });
                fair.send(group, count).await;
                sent += count;
            }
            40..80 => {
                let batch = fair.receive(random.usize(1..40)).await;
                for message in &batch {
                    assert!(received.insert(message.message_id.clone()), "received twice");
                }
                held.extend(batch);
            }
            80..95 => {
                fair.delete(std::mem::take(&mut held)).await;
                fair.pass(random.i64(0..2_000));
            }
            95 => fair.pass(random.i64(0..5 * MINUTE_MS)),
            96 => fair = fair.restart(),
            _ => {}
        }
        if held.iter().any(|_| random.u16(..) == 0) {
            fair.delete(std::mem::take(&mut held)).await;
        }
    }
    fair.delete(held).await;
    loop {
        let batch = fair.receive(1_000).await;
        if batch.is_empty() {
            break;
        }
        received.extend(batch.iter().map(|message| message.message_id.clone()));
        fair.delete(batch).await;
    }
    assert_eq!(received.len(), sent);
    assert_eq!(fair.queues.counts("main").await.unwrap(), Counts::default());
}
