//! A run: a bare baseline, the load itself, and the account of everything that was accepted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};

use crate::account::{depth, settle};
use crate::client::Client;
use crate::load::{self, Due, Load, Sent, histogram};
use crate::report::{Depth, Latency, Report, per_second};

/// The queue of the baseline: nobody reads it, and it is deleted in the end.
const BARE_QUEUE: &str = "bench-bare";
/// Submissions that open the connections; they count in the account only.
const WARM_UP: usize = 200;
/// How often the depth of the queue is looked at.
const DEPTH_EVERY: Duration = Duration::from_millis(100);
/// Payments per second, at the most, whose arrival in the table a reader watches.
const WATCHED_PER_SECOND: u32 = 50;
/// How long a reader looks for one payment.
const WATCHED_MAX: Duration = Duration::from_secs(60);

/// Runs the baseline and the load one after the other on the same pipeline.
///
/// # Errors
/// The pipeline gives no answer, or its queue does not empty.
pub async fn run(client: &Client, load: Load, bar: &ProgressBar) -> anyhow::Result<Report> {
    bar.set_length(u64::try_from(WARM_UP + 2 * load.count).unwrap_or(u64::MAX));
    bar.set_message("warm-up");
    let warm_up = Load { count: WARM_UP, rate: None, ..load };
    let mut accepted = submit(client, warm_up, bar, None).await.accepted;
    settle(client, &accepted).await?;

    bar.set_message("bare PUT");
    let bare = bare(client, load, bar).await?;

    bar.set_message("payments");
    let depths = Depths::watch(client.clone());
    let watched = Watched::new(client, load.rate);
    let sent = submit(client, load, bar, Some(watched.clone())).await;
    bar.set_message("emptying the queue");
    accepted.extend(sent.accepted.iter().cloned());
    let account = settle(client, &sent.accepted).await?;
    let depth = depths.end();
    let seen = watched.end().await;
    // The warm-up belongs to what must not be lost.
    settle(client, &accepted).await?.check()?;

    let mut stamped = histogram();
    for after_ms in &account.stored_after_ms {
        stamped.saturating_record(u64::try_from(after_ms * 1_000).unwrap_or_default());
    }
    let stored_in_ms = u128::try_from(account.last_stored_ms - sent.started_ms).unwrap_or(1);
    Ok(Report {
        rate: load.rate,
        connections: load.rate.is_none().then_some(load.connections),
        failed: sent.failed + bare.failed,
        bare: Latency::of(&bare.latency_us),
        put: Latency::of(&sent.latency_us),
        seen: Latency::of(&seen),
        stamped: Latency::of(&stamped),
        bare_per_second: per_second(bare.accepted.len(), bare.elapsed.as_millis()),
        accepted_per_second: per_second(sent.accepted.len(), sent.elapsed.as_millis()),
        stored_per_second: per_second(account.stored, stored_in_ms),
        depth,
        account,
        load_average: std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().into(),
    })
}

async fn submit(client: &Client, load: Load, bar: &ProgressBar, watched: Option<Watched>) -> Sent {
    let client = client.clone();
    let submit = move |due: Due| {
        let (client, watched) = (client.clone(), watched.clone());
        async move {
            let request_id = client.submit(&due.payment_id).await.ok()?;
            if let Some(watched) = watched {
                watched.watch(due);
            }
            Some(request_id)
        }
    };
    load::run(load, bar, submit).await
}

/// The same load on a queue that nobody reads: what storing a message durably costs by itself.
async fn bare(client: &Client, load: Load, bar: &ProgressBar) -> anyhow::Result<Sent> {
    let queue = client.queue("CreateQueue", &json!({ "QueueName": BARE_QUEUE })).await?;
    let sender = client.clone();
    let submit = move |due: Due| {
        let sender = sender.clone();
        async move {
            let sent = sender.send_bare(BARE_QUEUE, &due.payment_id).await;
            sent.is_ok().then(String::new)
        }
    };
    let sent = load::run(load, bar, submit).await;
    client.queue("DeleteQueue", &json!({ "QueueUrl": queue["QueueUrl"] })).await?;
    Ok(sent)
}

/// Readers that wait for payments to appear in the table, each asking again and again with consistent
/// reads. Only under a given rate: at full speed they would take the table's time away.
#[derive(Clone)]
struct Watched {
    client: Client,
    every: Option<usize>,
    readers: Arc<Mutex<JoinSet<Option<u64>>>>,
}

impl Watched {
    fn new(client: &Client, rate: Option<u32>) -> Watched {
        let every = rate.map(|rate| rate.div_ceil(WATCHED_PER_SECOND).max(1));
        let every = every.and_then(|every| usize::try_from(every).ok());
        Watched { client: client.clone(), every, readers: Arc::default() }
    }

    fn watch(&self, due: Due) {
        if self.every.is_some_and(|every| due.index.is_multiple_of(every)) {
            let client = self.client.clone();
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            readers.spawn(async move { seen_after_us(&client, &due).await });
        }
    }

    async fn end(self) -> Histogram<u64> {
        let mut readers =
            std::mem::take(&mut *self.readers.lock().unwrap_or_else(PoisonError::into_inner));
        let mut seen = histogram();
        while let Some(reader) = readers.join_next().await {
            if let Ok(Some(after_us)) = reader {
                seen.saturating_record(after_us);
            }
        }
        seen
    }
}

async fn seen_after_us(client: &Client, due: &Due) -> Option<u64> {
    let key = json!({
        "paymentId": { "S": due.payment_id },
        "userId": { "S": client.ready.user_id },
    });
    let get = json!({
        "TableName": client.ready.payments_table,
        "Key": key,
        "ConsistentRead": true,
        "ProjectionExpression": "paymentId",
    });
    while due.at.elapsed() < WATCHED_MAX {
        let answer = client.table("GetItem", &get).await.ok()?;
        if answer.get("Item").is_some_and(Value::is_object) {
            return u64::try_from(due.at.elapsed().as_micros()).ok();
        }
    }
    None
}

/// The depth of the queue over time.
struct Depths {
    seen: Arc<Mutex<Vec<Depth>>>,
    watcher: JoinHandle<()>,
}

impl Depths {
    fn watch(client: Client) -> Depths {
        let seen: Arc<Mutex<Vec<Depth>>> = Arc::default();
        let written = Arc::clone(&seen);
        let watcher = tokio::spawn(async move {
            let started = Instant::now();
            let mut ticks = tokio::time::interval(DEPTH_EVERY);
            loop {
                ticks.tick().await;
                if let Ok([visible, in_flight, delayed]) = depth(&client).await {
                    let at_ms = started.elapsed().as_millis();
                    let messages = visible + in_flight + delayed;
                    let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
                    written.push(Depth { at_ms, messages });
                }
            }
        });
        Depths { seen, watcher }
    }

    fn end(self) -> Vec<Depth> {
        self.watcher.abort();
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
