//! The language of `cases.txt`, and a queue server to run it against.
//!
//! A case is a title, what SQS does, followed by steps, one a line:
//!
//! - `Operation {input} -> {expected}`: succeeds, and the answer contains what is expected;
//! - `Operation {input} !! Code`: is refused with this error code;
//! - `+30s`: time passes;
//! - `moto: reason`: moto does otherwise;
//! - `cli: reason`: the AWS CLI cannot show it.
//!
//! In strings, `$q`, `$d` and `$r` are queue names of the case's own; their creation binds
//! `$q_url` and `$q_arn`. `$a1024` is a thousand and twenty-four letters. Any other `$name` is
//! bound where it is first expected and compared or inserted from then on. `*` expects anything,
//! null expects absence. Where an operation needs a queue URL and has none, it gets `$q_url`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use queue::Queues;
use serde_json::{Value, json};

pub(crate) mod sdk;

/// A client that performs one operation of SQS: the answer, or the error code.
pub(crate) trait Driver {
    /// Calls the operation at this endpoint.
    fn call(
        &self,
        endpoint: &str,
        operation: &str,
        input: &Value,
    ) -> impl Future<Output = Result<Value, String>> + Send;
}

/// One behaviour of SQS.
pub(crate) struct Case {
    /// What SQS does.
    pub(crate) claim: &'static str,
    /// What moto does.
    pub(crate) moto: Moto,
    /// Whether the AWS CLI can show it.
    pub(crate) cli: bool,
    steps: Vec<(&'static str, Step)>,
}

/// What moto, an independent SQS, does with a case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moto {
    /// The same.
    Agrees,
    /// Something else; the case says what.
    Differs,
    /// Time has to pass, and the test cannot move moto's clock.
    Untested,
}

enum Step {
    Answer { operation: &'static str, input: Value, expected: Value },
    Refusal { operation: &'static str, input: Value, code: &'static str },
    Advance { seconds: i64 },
}

/// Every case of `cases.txt`.
pub(crate) fn cases() -> Vec<Case> {
    let text = include_str!("cases.txt");
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        let Some(step) = line.strip_prefix("  ") else {
            cases.push(Case { claim: line, moto: Moto::Agrees, cli: true, steps: Vec::new() });
            continue;
        };
        let case = cases.last_mut().expect("a title comes first");
        if step.starts_with("moto:") {
            case.moto = Moto::Differs;
            continue;
        }
        if step.starts_with("cli:") {
            case.cli = false;
            continue;
        }
        let parsed = Step::parse(step);
        if let Step::Advance { .. } = parsed {
            case.moto = Moto::Untested;
        }
        case.steps.push((step, parsed));
    }
    cases
}

impl Step {
    fn parse(line: &'static str) -> Self {
        let object = |text: &str| {
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in: {line}"))
        };
        if let Some(seconds) = line.strip_prefix('+') {
            let seconds = seconds.trim_end_matches('s').parse().expect("whole seconds");
            return Self::Advance { seconds };
        }
        let (operation, rest) = line.split_once(' ').expect("an operation and its input");
        if let Some((input, code)) = rest.split_once(" !! ") {
            return Self::Refusal { operation, input: object(input), code };
        }
        let (input, expected) = rest.split_once(" -> ").unwrap_or((rest, "{}"));
        Self::Answer { operation, input: object(input), expected: object(expected) }
    }
}

impl Case {
    /// Runs the case; the error says which step surprised and how.
    pub(crate) async fn run(
        &self,
        driver: &impl Driver,
        endpoint: &str,
        clock: Option<&AtomicI64>,
    ) -> Result<(), String> {
        let mut names = BTreeMap::new();
        for letter in ["q", "d", "r"] {
            names.insert(letter.to_owned(), format!("{letter}-{}", uuid::Uuid::new_v4()));
        }
        for (line, step) in &self.steps {
            let fail = |text: String| Err(format!("{}\n  {line}\n  {text}", self.claim));
            match step {
                Step::Advance { seconds } => {
                    let clock = clock.expect("only the local queue lets time pass");
                    clock.fetch_add(seconds * 1_000, Ordering::Relaxed);
                }
                Step::Answer { operation, input, expected } => {
                    let input = prepare(operation, input, &names);
                    match driver.call(endpoint, operation, &input).await {
                        Err(code) => return fail(format!("was refused: {code}")),
                        Ok(answer) => {
                            learn_queue(&input, &answer, &mut names);
                            if let Err(text) = expect(expected, &answer, &mut names) {
                                return fail(format!("{text} in the answer {answer}"));
                            }
                        }
                    }
                }
                Step::Refusal { operation, input, code } => {
                    let input = prepare(operation, input, &names);
                    match driver.call(endpoint, operation, &input).await {
                        Ok(answer) => return fail(format!("was not refused: {answer}")),
                        Err(other) if other == *code => {}
                        Err(other) => return fail(format!("was refused otherwise: {other}")),
                    }
                }
            }
        }
        Ok(())
    }
}

fn prepare(operation: &str, input: &Value, names: &BTreeMap<String, String>) -> Value {
    const WITHOUT_URL: [&str; 6] = [
        "CreateQueue",
        "GetQueueUrl",
        "ListQueues",
        "StartMessageMoveTask",
        "ListMessageMoveTasks",
        "CancelMessageMoveTask",
    ];
    let mut input = insert(input, names);
    if !WITHOUT_URL.contains(&operation) && input["QueueUrl"].is_null() {
        input["QueueUrl"] = names.get("q_url").map_or(Value::Null, |url| json!(url));
    }
    input
}

/// Replaces the names in every string.
fn insert(value: &Value, names: &BTreeMap<String, String>) -> Value {
    match value {
        Value::String(text) => {
            let mut text = text.clone();
            if let Some(length) = text.strip_prefix("$a").and_then(|digits| digits.parse().ok()) {
                return json!("a".repeat(length));
            }
            // The longest names first: `$q_url` before `$q`.
            for (name, value) in names.iter().rev() {
                text = text.replace(&format!("${name}"), value);
            }
            json!(text)
        }
        Value::Array(items) => items.iter().map(|item| insert(item, names)).collect(),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                let name = insert(&json!(name), names);
                (name.as_str().unwrap_or_default().to_owned(), insert(value, names))
            };
            Value::Object(members.iter().map(member).collect())
        }
        other => other.clone(),
    }
}

fn learn_queue(input: &Value, answer: &Value, names: &mut BTreeMap<String, String>) {
    let (Some(queue), Some(url)) = (input["QueueName"].as_str(), answer["QueueUrl"].as_str())
    else {
        return;
    };
    let account = url.rsplit('/').nth(1).unwrap_or_default();
    let letter = queue.split('-').next().unwrap_or_default();
    names.insert(format!("{letter}_arn"), format!("arn:aws:sqs:us-east-1:{account}:{queue}"));
    names.insert(format!("{letter}_url"), url.to_owned());
}

fn expect(
    expected: &Value,
    found: &Value,
    names: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    match (expected, found) {
        (Value::String(text), found) if text == "*" && !found.is_null() => Ok(()),
        (Value::String(text), Value::String(found)) => {
            if let Some(name) = text.strip_prefix('$').filter(|name| !names.contains_key(*name)) {
                names.insert(name.to_owned(), found.clone());
                return Ok(());
            }
            let text = insert(expected, names);
            if text == found.as_str() { Ok(()) } else { Err(format!("expected {text}")) }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let mut pairs = expected.iter().zip(found);
            pairs.try_for_each(|(expected, found)| expect(expected, found, names))
        }
        (Value::Object(expected), Value::Object(members)) => {
            let mut members = expected
                .iter()
                .map(|(name, expected)| (expected, members.get(name).unwrap_or(&Value::Null)));
            members.try_for_each(|(expected, found)| expect(expected, found, names))
        }
        (expected, found) if expected == found => Ok(()),
        (expected, _) => Err(format!("expected {expected}")),
    }
}

/// A queue server of its own, with a clock that only the test moves.
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) endpoint: String,
    /// Its clock, in milliseconds since 1970.
    pub(crate) clock: Arc<AtomicI64>,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    _directory: tempfile::TempDir,
}

impl Server {
    /// Starts an empty server.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("a bound address"));
        let clock = Arc::new(AtomicI64::new(1_700_000_000_000));
        let time = Arc::clone(&clock);
        let queues = Queues::open_with_clock(
            &directory.path().join("queue.db"),
            &endpoint,
            Arc::new(move || time.load(Ordering::Relaxed)),
        )
        .expect("an empty database");
        let router = queues.router();
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Self { endpoint, clock, serving, _directory: directory }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
