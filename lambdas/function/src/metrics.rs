//! Metrics in CloudWatch's embedded metric format: lines on standard output, by the function's name.

use std::io::Write;

use serde_json::{Map, Value, json};

/// The namespace of all metrics.
const NAMESPACE: &str = "Remit";

/// Values that one metric may have in one line (CloudWatch Logs User Guide, "Embedded metric format
/// specification").
const VALUES_MAX: usize = 100;

/// What one message or request adds to the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Metrics that count it.
    pub counters: &'static [&'static str],
    /// A metric of time, and its value in milliseconds.
    pub time: Option<(&'static str, i64)>,
}

/// Writes samples to standard output, at `now_ms` since 1970-01-01 UTC.
pub fn emit(function_name: &str, now_ms: i64, samples: &[Sample]) {
    let mut out = std::io::stdout().lock();
    for line in lines(function_name, now_ms, samples) {
        // Metrics must not fail a batch whose outcomes are durable.
        let _ = writeln!(out, "{line}");
    }
}

fn lines(function_name: &str, now_ms: i64, samples: &[Sample]) -> Vec<Value> {
    samples.chunks(VALUES_MAX).map(|samples| line(function_name, now_ms, samples)).collect()
}

fn line(function_name: &str, now_ms: i64, samples: &[Sample]) -> Value {
    let mut counts = Map::new();
    let mut times = Map::new();
    for sample in samples {
        for name in sample.counters {
            let count = counts.get(*name).and_then(Value::as_u64).unwrap_or_default() + 1;
            counts.insert((*name).to_owned(), count.into());
        }
        if let Some((name, ms)) = sample.time {
            let values = times.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(values) = values {
                values.push(ms.into());
            }
        }
    }
    let definitions = |values: &Map<String, Value>, unit: &str| {
        let definition = |name| json!({ "Name": name, "Unit": unit });
        values.keys().map(definition).collect::<Vec<_>>()
    };
    let mut metrics = definitions(&times, "Milliseconds");
    metrics.append(&mut definitions(&counts, "Count"));
    let directive = json!({
        "Namespace": NAMESPACE,
        "Dimensions": [["FunctionName"]],
        "Metrics": metrics,
    });
    let mut values = counts;
    values.append(&mut times);
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

    fn sample(counters: &'static [&'static str], time: Option<i64>) -> Sample {
        Sample { counters, time: time.map(|ms| ("AcceptToStore", ms)) }
    }

    #[test]
    fn a_batch_has_one_line_of_embedded_metrics() {
        let samples = [
            sample(&["Stored"], Some(7)),
            sample(&["Stored"], Some(8)),
            sample(&["Refused", "OwnerMismatch"], None),
            sample(&["Retried"], None),
        ];
        let lines = lines("submit-payments", 1_790_000_000_123, &samples);
        assert_eq!(
            serde_json::to_string(&lines).unwrap(),
            r#"[{"AcceptToStore":[7,8],"FunctionName":"submit-payments","OwnerMismatch":1,"Refused":1,"Retried":1,"Stored":2,"_aws":{"CloudWatchMetrics":[{"Dimensions":[["FunctionName"]],"Metrics":[{"Name":"AcceptToStore","Unit":"Milliseconds"},{"Name":"OwnerMismatch","Unit":"Count"},{"Name":"Refused","Unit":"Count"},{"Name":"Retried","Unit":"Count"},{"Name":"Stored","Unit":"Count"}],"Namespace":"Remit"}],"Timestamp":1790000000123}}]"#
        );
    }

    #[test]
    fn a_metric_has_at_most_a_hundred_values_a_line() {
        let samples = vec![sample(&["Stored"], Some(7)); 250];
        let given = lines("submit-payments", 0, &samples);
        let counts: Vec<_> = given.iter().map(|line| line["Stored"].as_u64().unwrap()).collect();
        assert_eq!(counts, [100, 100, 50]);
        assert!(lines("submit-payments", 0, &[]).is_empty());
    }
}
