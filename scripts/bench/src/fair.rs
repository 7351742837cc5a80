//! What one user's flood does to another user's payments: their time from PUT to the table, with and
//! without a flood, and how many payments of the flood were stored while one of them waited.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::account::{epoch_ms, scan, settle};
use crate::client::Client;
use crate::load::{self, Due, Load, histogram, now_ms};
use crate::pipeline::Pipeline;
use crate::report::per_second;

/// Payments of the other user before the flood.
const ALONE: usize = 50;
/// The other user's pause between a payment that is stored and the next one.
const PAUSE: Duration = Duration::from_millis(50);
/// How often the other user looks for a payment.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How long one may take. Without fairness it would take as long as the flood.
const STORED_WITHIN: Duration = Duration::from_secs(300);
/// Connections of the flood.
const CONNECTIONS: usize = 32;
/// Messages in the functions' hands at once: two processes, each with a batch of ten.
const UNDER_WAY: usize = 20;

/// A stored payment of the other user, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Waited {
    accepted_ms: i64,
    stored_ms: i64,
}

/// Floods a pipeline of its own with so many payments of one user while another one submits now and then;
/// a line for each finding.
///
/// # Errors
/// Something is lost, or the other user's payments waited for the flood.
pub async fn run(count: usize, bar: &ProgressBar) -> anyhow::Result<Vec<String>> {
    let (pipeline, flooding) = Pipeline::start(&[]).await?;
    let user = Uuid::new_v4().to_string();
    let other = flooding.of_user(&user, &pipeline.token(&user)?);
    bar.set_length(u64::try_from(ALONE + count).unwrap_or(u64::MAX));
    bar.set_message("alone");
    let mut alone_us = histogram();
    for _ in 0..ALONE {
        pay(&other, &mut alone_us).await?;
        bar.inc(1);
    }

    bar.set_message("flood");
    let (begun, started_ms) = (Arc::new(AtomicUsize::new(0)), now_ms());
    let counter = Arc::clone(&begun);
    let client = flooding.clone();
    let submit = move |due: Due| {
        let (client, counter) = (client.clone(), Arc::clone(&counter));
        async move {
            counter.fetch_add(1, Ordering::Relaxed);
            client.submit(&due.payment_id).await.ok()
        }
    };
    let load = Load { count, time_max: Duration::MAX, rate: None, connections: CONNECTIONS };
    let flood = tokio::spawn({
        let bar = bar.clone();
        async move { load::run(load, &bar, submit).await }
    });
    let (mut beside_us, mut waited, mut deepest) = (histogram(), Vec::new(), 0);
    loop {
        let is_submitted = flood.is_finished();
        let depth: u64 = crate::account::depth(&flooding).await?.iter().sum();
        deepest = deepest.max(depth);
        if is_submitted && depth == 0 {
            break;
        }
        if begun.load(Ordering::Relaxed) > 0 {
            waited.push(pay(&other, &mut beside_us).await?);
        }
        tokio::time::sleep(PAUSE).await;
    }
    let sent = flood.await?;
    ensure!(sent.failed == 0, "{} payments of the flood were not accepted", sent.failed);
    let account = settle(&flooding, &sent.accepted).await?;
    account.check()?;
    let overtaken = overtaken(&flooding, &user, &waited).await?;
    let middle = overtaken.get(overtaken.len() / 2).copied().unwrap_or_default();
    let most = overtaken.last().copied().unwrap_or_default();
    let stored_in_ms = u128::try_from(account.last_stored_ms - started_ms).unwrap_or(1);
    let load_average = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let lines = vec![
        line("another user alone", &alone_us),
        line("beside the flood", &beside_us),
        format!(
            "flood: {count} payments, {} stored a second, {deepest} messages deep; another's payment \
             was overtaken by {middle} of them (median), {most} at the most",
            per_second(account.stored, stored_in_ms)
        ),
        format!("load average {}", load_average.trim()),
    ];
    ensure!(
        middle <= 2 * UNDER_WAY,
        "half of the other user's payments waited for {middle} payments of the flood or more:\n{}",
        lines.join("\n")
    );
    Ok(lines)
}

fn line(name: &str, latency_us: &Histogram<u64>) -> String {
    let at = |quantile: f64| latency_us.value_at_quantile(quantile);
    let (count, slowest) = (latency_us.len(), latency_us.max());
    format!(
        "{name}: PUT to seen p50 {} us, p99 {} us, slowest {slowest} us ({count} payments)",
        at(0.5),
        at(0.99)
    )
}

/// Submits a payment and waits until it is stored.
async fn pay(client: &Client, latency_us: &mut Histogram<u64>) -> anyhow::Result<Waited> {
    let payment_id = Uuid::new_v4().to_string();
    let started = Instant::now();
    client.submit(&payment_id).await?;
    let key = json!({ "paymentId": { "S": payment_id }, "userId": { "S": client.ready.user_id } });
    let get = json!({
        "TableName": client.ready.payments_table, "Key": key, "ConsistentRead": true,
    });
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        let item = client.table("GetItem", &get).await?["Item"].take();
        if !item.is_null() {
            load::record(latency_us, started);
            let time = |name: &str| item[name]["S"].as_str().and_then(epoch_ms);
            let accepted_ms = time("_acceptedAt").context("a time of acceptance")?;
            let stored_ms = time("_storedAt").context("a time of storing")?;
            return Ok(Waited { accepted_ms, stored_ms });
        }
        ensure!(started.elapsed() < STORED_WITHIN, "a payment waits for {STORED_WITHIN:?}");
    }
}

/// How many payments of the flood were stored while each of the other user's waited, in order.
async fn overtaken(client: &Client, user: &str, waited: &[Waited]) -> anyhow::Result<Vec<usize>> {
    let items = scan(client, &client.ready.payments_table, "userId, #s").await?;
    let is_flood = |item: &&Value| item["userId"]["S"] != user;
    let stored = items.iter().filter(is_flood);
    let mut stored_ms: Vec<i64> =
        stored.filter_map(|item| epoch_ms(item["_storedAt"]["S"].as_str()?)).collect();
    stored_ms.sort_unstable();
    let until = |ms: i64| stored_ms.partition_point(|stored_ms| *stored_ms < ms);
    let mut counts: Vec<usize> = waited
        .iter()
        .map(|waited| until(waited.stored_ms).saturating_sub(until(waited.accepted_ms)))
        .collect();
    counts.sort_unstable();
    Ok(counts)
}
