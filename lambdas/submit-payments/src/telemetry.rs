//! What the function tells its operators: one JSON line for each record, and metrics for each batch in
//! CloudWatch's embedded metric format. Neither holds a body, a token, a user or a name.

use std::io::Write;

use serde_json::{Map, Value, json};
use tracing_subscriber::EnvFilter;

use crate::batch::{Done, Invocation, Report};
use crate::outcome::Outcome;
use crate::record::Record;

/// The namespace of all metrics.
const NAMESPACE: &str = "Remit";

/// Values that one metric may have in one line (CloudWatch Logs User Guide, "Embedded metric format
/// specification").
const VALUES_MAX: usize = 100;

/// The time from acceptance to storage.
const ACCEPT_TO_STORE: &str = "AcceptToStore";

/// Begins to write logs to standard output, one JSON object a line. `RUST_LOG` chooses what; without it
/// everything from `info` on.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A second start is a test's; the first one stays.
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .try_init();
}

/// Logs what became of a record.
pub(crate) fn log(record: &Record, done: &Done) {
    let reason = done.outcome.reason();
    let (outcome, since_accepted_ms) = (done.outcome.name(), done.since_accepted_ms);
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                messageId = record.message_id,
                requestId = record.submission.request_id,
                receiveCount = record.receive_count,
                outcome,
                reason,
                sinceAcceptedMs = since_accepted_ms,
                "record"
            )
        };
    }
    match done.outcome {
        Outcome::Stored | Outcome::Duplicate | Outcome::Refused(_) => line!(info),
        Outcome::Retry(_) => line!(warn),
        Outcome::Dead(_) => line!(error),
    }
}

/// Writes a batch's metrics to standard output.
pub(crate) fn emit(function_name: &str, invocation: &Invocation, report: &Report) {
    let mut out = std::io::stdout().lock();
    for line in metrics(function_name, invocation.now_ms(), &report.records) {
        // Metrics must not fail a batch whose outcomes are durable.
        let _ = writeln!(out, "{line}");
    }
}

/// Names of the metrics that count an outcome.
fn counters(outcome: &Outcome) -> &'static [&'static str] {
    use schema::envelope::DeadReason;
    use schema::refusal::Refusal;
    match outcome {
        Outcome::Stored => &["Stored"],
        Outcome::Duplicate => &["Duplicate"],
        Outcome::Refused(Refusal::Conflict { .. }) => &["Refused", "Conflict"],
        Outcome::Refused(Refusal::OwnerMismatch) => &["Refused", "OwnerMismatch"],
        Outcome::Refused(Refusal::Invalid { .. } | Refusal::Malformed { .. }) => &["Refused"],
        Outcome::Dead(DeadReason::Unverified) => &["DeadLettered", "Unverified"],
        Outcome::Dead(_) => &["DeadLettered"],
        Outcome::Retry(_) => &["Retried"],
    }
}

fn metrics(function_name: &str, now_ms: i64, records: &[Done]) -> Vec<Value> {
    let chunks = records.chunks(VALUES_MAX);
    chunks.map(|records| metrics_line(function_name, now_ms, records)).collect()
}

fn metrics_line(function_name: &str, now_ms: i64, records: &[Done]) -> Value {
    let mut values = Map::new();
    for name in records.iter().flat_map(|done| counters(&done.outcome)) {
        let count = values.get(*name).and_then(Value::as_u64).unwrap_or_default() + 1;
        values.insert((*name).to_owned(), count.into());
    }
    let stored = records.iter().filter(|done| done.outcome == Outcome::Stored);
    let times: Vec<i64> = stored.map(|done| done.since_accepted_ms).collect();
    if !times.is_empty() {
        values.insert(ACCEPT_TO_STORE.to_owned(), times.into());
    }
    let unit = |name: &str| if name == ACCEPT_TO_STORE { "Milliseconds" } else { "Count" };
    let definitions: Vec<Value> =
        values.keys().map(|name| json!({ "Name": name, "Unit": unit(name) })).collect();
    let directive = json!({
        "Namespace": NAMESPACE,
        "Dimensions": [["FunctionName"]],
        "Metrics": definitions,
    });
    values.insert("FunctionName".to_owned(), function_name.into());
    values.insert(
        "_aws".to_owned(),
        json!({ "Timestamp": now_ms, "CloudWatchMetrics": [directive] }),
    );
    Value::Object(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::envelope::DeadReason;
    use schema::refusal::Refusal;

    fn done(outcome: Outcome) -> Done {
        Done { message_id: "m".to_owned(), outcome, since_accepted_ms: 7 }
    }

    #[test]
    fn a_batch_has_one_line_of_embedded_metrics() {
        let records = [
            done(Outcome::Stored),
            done(Outcome::Stored),
            done(Outcome::Refused(Refusal::OwnerMismatch)),
            done(Outcome::Dead(DeadReason::Unverified)),
            done(Outcome::Retry(DeadReason::Throttled)),
        ];
        let lines = metrics("submit-payments", 1_790_000_000_123, &records);
        assert_eq!(
            serde_json::to_string(&lines).unwrap(),
            r#"[{"AcceptToStore":[7,7],"DeadLettered":1,"FunctionName":"submit-payments","OwnerMismatch":1,"Refused":1,"Retried":1,"Stored":2,"Unverified":1,"_aws":{"CloudWatchMetrics":[{"Dimensions":[["FunctionName"]],"Metrics":[{"Name":"AcceptToStore","Unit":"Milliseconds"},{"Name":"DeadLettered","Unit":"Count"},{"Name":"OwnerMismatch","Unit":"Count"},{"Name":"Refused","Unit":"Count"},{"Name":"Retried","Unit":"Count"},{"Name":"Stored","Unit":"Count"},{"Name":"Unverified","Unit":"Count"}],"Namespace":"Remit"}],"Timestamp":1790000000123}}]"#
        );
    }

    #[test]
    fn a_metric_has_at_most_a_hundred_values_a_line() {
        let records = vec![done(Outcome::Stored); 250];
        let lines = metrics("submit-payments", 0, &records);
        let counts: Vec<_> = lines.iter().map(|line| line["Stored"].as_u64().unwrap()).collect();
        assert_eq!(counts, [100, 100, 50]);
        assert!(metrics("submit-payments", 0, &[]).is_empty());
    }
}
