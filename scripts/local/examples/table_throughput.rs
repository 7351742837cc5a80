//! Where is the table engine the limit? Prints conditional puts of payments per second, into a file
//! as `cargo local` keeps it: by the engine alone, in this process, and through its HTTP protocol.
//!
//! `cargo run --release --package local --example table_throughput`

use std::time::Instant;

use futures::future::try_join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use local::table::{PAYMENTS_TABLE, TableServer};
use serde_json::{Value, json};

/// Puts per measurement.
const PUTS: usize = 20_000;
/// Callers at once, over HTTP.
const CALLERS: usize = 32;
/// Nobody checks the signature; only its form has to be right.
const AUTHORIZED: &str = "AWS4-HMAC-SHA256 Credential=local/20261121/us-east-1/local/aws4_request, \
    SignedHeaders=host;x-amz-date, Signature=0";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("tables.sqlite");

    let server = TableServer::start(&file, 0)?;
    let base_url = server.base_url();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let started = Instant::now();
    try_join_all((0..CALLERS).map(async |_| {
        for _ in 0..PUTS / CALLERS {
            let request = Request::post(&base_url)
                .header("content-type", "application/x-amz-json-1.0")
                .header("x-amz-target", "DynamoDB_20120810.PutItem")
                .header("authorization", AUTHORIZED)
                .header("x-amz-date", "20261121T000000Z")
                .body(Full::<Bytes>::from(put().to_string()))?;
            let answer = client.request(request).await?;
            anyhow::ensure!(answer.status().is_success(), "{}", answer.status());
            answer.into_body().collect().await?;
        }
        anyhow::Ok(())
    }))
    .await?;
    report("over HTTP", started);
    server.stop().await;

    let database = dynoxide::Database::new(&file.to_string_lossy())?;
    database.disable_bulk_loading()?;
    let started = Instant::now();
    for _ in 0..PUTS {
        database.put_item(serde_json::from_value(put())?)?;
    }
    report("in this process", started);
    Ok(())
}

/// What the function stores of a payment.
fn put() -> Value {
    let id = uuid::Uuid::new_v4().to_string();
    let text = |value: &str| json!({ "S": value });
    json!({
        "TableName": PAYMENTS_TABLE,
        "ConditionExpression": "attribute_not_exists(paymentId)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        "Item": {
            "paymentId": text(&id),
            "userId": text("5f2c8d34-1b7e-4e0a-8c55-90d1e2f3a4b5"),
            "amount": text("10.50"),
            "currency": text("GBP"),
            "description": text("Invoice 4711"),
            "_requestId": text("UZKf3U9pTu2ejw0="),
            "_messageId": text(&id),
            "_acceptedAt": text("2026-11-21T03:52:35.468Z"),
            "_storedAt": text("2026-11-21T03:52:35.469Z"),
            "_bodyMd5": text("f34eefeba15dc31d50b456bad8f836a0"),
            "_amountMinor": { "N": "1050" },
            "_schemaVersion": { "N": "1" },
        },
    })
}

fn report(what: &str, started: Instant) {
    let per_s = PUTS as u128 * 1_000_000 / started.elapsed().as_micros().max(1);
    println!("{what:<20} {per_s:>8}/s");
}
