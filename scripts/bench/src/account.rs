//! What became of everything that was accepted: each request is stored, a duplicate of a stored one,
//! refused on record or dead, and each stored payment is one item.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use crate::client::Client;

/// How long the queue may take to empty after the last submission.
const DRAIN_MAX: Duration = Duration::from_secs(300);
/// How often the queue's counts are read meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a dead letter that was read stays out of sight: longer than reading all of them takes.
const READ_SECONDS: u32 = 120;

/// An accepted submission.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The payment.
    pub payment_id: String,
    /// The request, as the gateway named it.
    pub request_id: String,
    /// When it was due, in milliseconds since 1970.
    pub due_ms: i64,
}

/// The account of a run.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Submissions answered 200.
    pub accepted: usize,
    /// Of these, stored under the request's own id.
    pub stored: usize,
    /// Of the others, on record as duplicates of a stored payment.
    pub duplicates: usize,
    /// Of the others, refused on record.
    pub refused: usize,
    /// Of the others, in the dead-letter queue.
    pub dead: usize,
    /// Request ids without any outcome: must be empty.
    pub lost: Vec<String>,
    /// Payments with more than one item: must be none.
    pub items_over_one: usize,
    /// From due to the item's time stamp, in milliseconds, for each stored one.
    #[serde(skip)]
    pub stored_after_ms: Vec<i64>,
    /// The newest item's time stamp, in milliseconds since 1970.
    #[serde(skip)]
    pub last_stored_ms: i64,
}

impl Account {
    /// # Errors
    /// Something is lost, or stored twice.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(self.lost.is_empty(), "{} are lost: {:?}", self.lost.len(), self.lost);
        ensure!(self.items_over_one == 0, "{} payments have two items", self.items_over_one);
        Ok(())
    }
}

/// Messages of the main queue: visible, in flight, delayed.
///
/// # Errors
/// The queue gives no answer.
pub async fn depth(client: &Client) -> anyhow::Result<[u64; 3]> {
    let names = [
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesDelayed",
    ];
    let input = json!({ "QueueUrl": client.ready.queue_url, "AttributeNames": names });
    let answer = client.queue("GetQueueAttributes", &input).await?;
    let count = |name: &str| answer["Attributes"][name].as_str()?.parse().ok();
    let counts: Option<Vec<u64>> = names.iter().map(|name| count(name)).collect();
    counts.and_then(|counts| counts.try_into().ok()).context("the counts of the queue")
}

/// Waits until the queue is empty and settles the account of what was accepted.
///
/// # Errors
/// The queue does not empty in time, or something gives no answer.
pub async fn settle(client: &Client, accepted: &[Accepted]) -> anyhow::Result<Account> {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        let depth = depth(client).await?;
        if depth.iter().sum::<u64>() == 0 {
            break;
        }
        ensure!(started.elapsed() < DRAIN_MAX, "the queue still holds {depth:?} messages");
    }
    let items = scan(client, &client.ready.payments_table, "paymentId, #r, #s").await?;
    let records = scan(client, &client.ready.refusals_table, "requestId, #k").await?;
    let dead = dead_request_ids(client).await?;
    Ok(compare(accepted, &items, &records, &dead))
}

fn compare(
    accepted: &[Accepted],
    items: &[Value],
    records: &[Value],
    dead: &HashSet<String>,
) -> Account {
    let mut account = Account { accepted: accepted.len(), ..Account::default() };
    let mut stored = HashMap::new();
    for item in items {
        let id = item["paymentId"]["S"].as_str().unwrap_or_default();
        account.items_over_one += usize::from(stored.insert(id, item).is_some());
    }
    let on_record = |kind: &str| -> HashSet<&str> {
        let records = records.iter().filter(|record| record["kind"]["S"] == kind);
        records.filter_map(|record| record["requestId"]["S"].as_str()).collect()
    };
    let (refused, duplicates) = (on_record("refused"), on_record("duplicate"));
    for Accepted { payment_id, request_id, due_ms } in accepted {
        let item = stored.get(payment_id.as_str());
        if let Some(item) = item.filter(|item| item["_requestId"]["S"] == request_id.as_str()) {
            account.stored += 1;
            let stored_ms = item["_storedAt"]["S"].as_str().and_then(epoch_ms).unwrap_or_default();
            account.stored_after_ms.push(stored_ms - due_ms);
            account.last_stored_ms = account.last_stored_ms.max(stored_ms);
        } else if refused.contains(request_id.as_str()) {
            account.refused += 1;
        } else if duplicates.contains(request_id.as_str()) {
            account.duplicates += 1;
        } else if dead.contains(request_id) {
            account.dead += 1;
        } else {
            account.lost.push(request_id.clone());
        }
    }
    account
}

/// Milliseconds since 1970 of `2026-11-21T00:00:00.000Z`.
pub(crate) fn epoch_ms(text: &str) -> Option<i64> {
    let time = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339);
    i64::try_from(time.ok()?.unix_timestamp_nanos() / 1_000_000).ok()
}

/// Reads a whole table, of each item these attributes.
pub(crate) async fn scan(
    client: &Client,
    table: &str,
    attributes: &str,
) -> anyhow::Result<Vec<Value>> {
    let names = json!({ "#r": "_requestId", "#s": "_storedAt", "#k": "kind" });
    let named = |(name, _): &(&String, &Value)| attributes.contains(name.as_str());
    let names: HashMap<_, _> = names.as_object().into_iter().flatten().filter(named).collect();
    let mut input = json!({
        "TableName": table,
        "ConsistentRead": true,
        "ProjectionExpression": attributes,
        "ExpressionAttributeNames": names,
    });
    let mut items = Vec::new();
    loop {
        let mut answer = client.table("Scan", &input).await?;
        if let Value::Array(page) = answer["Items"].take() {
            items.extend(page);
        }
        match answer["LastEvaluatedKey"].take() {
            Value::Null => return Ok(items),
            key => input["ExclusiveStartKey"] = key,
        }
    }
}

/// Reads the dead-letter queue once through. The letters stay there.
async fn dead_request_ids(client: &Client) -> anyhow::Result<HashSet<String>> {
    let input = json!({
        "QueueUrl": client.ready.dead_letter_queue_url,
        "MaxNumberOfMessages": 10,
        "MessageAttributeNames": ["requestId"],
        "VisibilityTimeout": READ_SECONDS,
    });
    let mut ids = HashSet::new();
    loop {
        let answer = client.queue("ReceiveMessage", &input).await?;
        let messages = answer["Messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        if messages.is_empty() {
            return Ok(ids);
        }
        ids.extend(messages.iter().filter_map(|message| {
            let id = message["MessageAttributes"]["requestId"]["StringValue"].as_str();
            id.map(str::to_owned)
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_has_one_outcome_or_is_lost() {
        let accepted = |payment: &str, request: &str| Accepted {
            payment_id: payment.to_owned(),
            request_id: request.to_owned(),
            due_ms: 1_000,
        };
        let item = |payment: &str, request: &str| {
            json!({
                "paymentId": { "S": payment },
                "_requestId": { "S": request },
                "_storedAt": { "S": "1970-01-01T00:00:01.500Z" },
            })
        };
        let record = |request: &str, kind: &str| json!({ "requestId": { "S": request }, "kind": { "S": kind } });
        let accepted = [("a", "1"), ("a", "2"), ("a", "3"), ("b", "4"), ("c", "5"), ("d", "6")]
            .map(|(payment, request)| accepted(payment, request));
        let records = [record("2", "duplicate"), record("3", "refused"), record("4", "held")];
        let dead = HashSet::from(["4".to_owned()]);
        let account = compare(&accepted, &[item("a", "1"), item("d", "6")], &records, &dead);
        assert_eq!((account.accepted, account.stored, account.duplicates), (6, 2, 1));
        assert_eq!((account.refused, account.dead), (1, 1));
        assert_eq!((account.lost.as_slice(), account.items_over_one), (&["5".to_owned()][..], 0));
        assert_eq!(
            (account.stored_after_ms.as_slice(), account.last_stored_ms),
            (&[500, 500][..], 1_500)
        );
        assert!(account.check().is_err());
        let twice = compare(&[], &[item("a", "1"), item("a", "2")], &[], &HashSet::new());
        assert_eq!(twice.items_over_one, 1);
    }
}
