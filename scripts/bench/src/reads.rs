//! What the answers about payments take: one question after the other, on one connection.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::load::histogram;
use crate::pipeline::Pipeline;

/// Items of one `BatchWriteItem`.
const BATCH: usize = 25;
/// Questions that open the connections and fill the caches; they are not counted.
const WARM_UP: usize = 50;
/// How long the first payment may take.
const STORED_WITHIN: Duration = Duration::from_secs(30);

/// Gives a user of a pipeline of its own so many payments, and measures the answers; a line for each kind
/// of question.
///
/// # Errors
/// The pipeline gives no answer, or another one than expected.
pub async fn run(payments: usize, count: usize, bar: &ProgressBar) -> anyhow::Result<Vec<String>> {
    let (_pipeline, client) = Pipeline::start(&[]).await?;
    bar.set_length(u64::try_from(payments).unwrap_or(u64::MAX));
    bar.set_message("payments");
    let ids = store(&client, payments, bar).await?;
    let newest = client.ask("/payments?limit=25").await?;
    ensure!(newest["payments"].as_array().map(Vec::len) == Some(25), "a page of 25: {newest}");
    let cursor = newest["cursor"].as_str().context("there are more")?.to_owned();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let random = || format!("/payments/{}", ids[fastrand::usize(..ids.len())]);
    Ok(vec![
        measured(&client, "one payment by its id", count, random).await?,
        measured(&client, "the newest 25", count, || "/payments?limit=25".to_owned()).await?,
        measured(&client, "the next 25", count, || format!("/payments?limit=25&cursor={cursor}"))
            .await?,
        format!("{payments} payments of the user; load average {}", load.trim()),
    ])
}

async fn measured(
    client: &Client,
    name: &str,
    count: usize,
    path: impl Fn() -> String,
) -> anyhow::Result<String> {
    let mut latency_us = histogram();
    for question in 0..WARM_UP + count {
        let path = path();
        let asked = Instant::now();
        client.ask(&path).await.with_context(|| path.clone())?;
        if question >= WARM_UP {
            let took_us = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
            latency_us.saturating_record(took_us);
        }
    }
    let at = |quantile: f64| latency_us.value_at_quantile(quantile);
    Ok(format!("{name}: p50 {} us, p99 {} us, slowest {} us", at(0.5), at(0.99), latency_us.max()))
}

/// Submits one payment and copies its item under other ids, each a second older than the one before: what
/// as many submissions would have left.
async fn store(client: &Client, payments: usize, bar: &ProgressBar) -> anyhow::Result<Vec<String>> {
    let first = Uuid::new_v4().to_string();
    client.submit(&first).await?;
    let table = &client.ready.payments_table;
    let key = json!({ "paymentId": { "S": first }, "userId": { "S": client.ready.user_id } });
    let get = json!({ "TableName": table, "Key": key, "ConsistentRead": true });
    let started = Instant::now();
    let item = loop {
        let item = client.table("GetItem", &get).await?["Item"].take();
        if !item.is_null() {
            break item;
        }
        ensure!(started.elapsed() < STORED_WITHIN, "the first payment is not stored");
    };
    let mut ids = vec![first];
    while ids.len() < payments {
        let batch = BATCH.min(payments - ids.len());
        let puts: Vec<Value> = (0..batch).map(|_| put(&item, &mut ids)).collect();
        client.table("BatchWriteItem", &json!({ "RequestItems": { table: puts } })).await?;
        bar.inc(u64::try_from(batch).unwrap_or_default());
    }
    Ok(ids)
}

fn put(item: &Value, ids: &mut Vec<String>) -> Value {
    let id = Uuid::new_v4().to_string();
    let mut item = item.clone();
    let seconds = ids.len();
    let at =
        time::OffsetDateTime::now_utc() - Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let at = at.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
    item["paymentId"] = json!({ "S": id });
    item["_acceptedAt"] = json!({ "S": at });
    ids.push(id);
    json!({ "PutRequest": { "Item": item } })
}
