//! Does the dead-letter workbench keep its promises on queues that nobody here wrote? This drives the real
//! program as against AWS, with the ordinary credential chain and with flags instead of `--local`; moto stands
//! in for AWS. It needs `moto_server` on the path. moto has no move tasks, so `--native` is tried on the local
//! pipeline only.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use aws_config::BehaviorVersion;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sqs::types::{Message, MessageAttributeValue, QueueAttributeName};
use aws_smithy_http_client::Builder;
use serde_json::{Value, json};

/// The longest that moto may take to start.
const START_MAX: Duration = Duration::from_secs(60);

const BODY: &str = "{\"paymentId\":\"0b6e1d4c-3f52-4a8e-9d57-2c1f0a9b8e7d\",\"description\":\"O'Brien \
    & \u{1f600} \\u0041\"}";

struct Moto {
    endpoint: String,
    process: Child,
    directory: tempfile::TempDir,
    sqs: aws_sdk_sqs::Client,
    main: String,
    dead: String,
}

impl Moto {
    async fn start() -> Moto {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = port.expect("a free port");
        let process = Command::new("moto_server")
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto is installed: pip install 'moto[server]'");
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "moto_server does not listen on {address}");
            std::thread::yield_now();
        }
        let endpoint = format!("http://{address}");
        let credentials = Credentials::from_keys("any", "any", None);
        let sdk = aws_config::SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(aws_config::Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(Builder::new().build_http())
            .endpoint_url(&endpoint)
            .build();
        let sqs = aws_sdk_sqs::Client::new(&sdk);
        let (main, dead) = queues(&sqs).await;
        let directory = tempfile::tempdir().expect("a temporary directory");
        Moto { endpoint, process, directory, sqs, main, dead }
    }

    fn dlq(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ops"))
            .arg("dlq")
            .args(arguments)
            .args(["--queue-url", &self.main, "--dead-letter-queue-url", &self.dead])
            .args(["--region", "us-east-1"])
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_ACCESS_KEY_ID", "any")
            .env("AWS_SECRET_ACCESS_KEY", "any")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env_remove("AWS_PROFILE")
            .env("XDG_STATE_HOME", self.directory.path())
            .output()
            .expect("the binary runs")
    }

    /// The JSON lines that a command printed, which must have ended well.
    fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.dlq(arguments);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    async fn send(&self, queue: &str, texts: &[(&str, &str)]) {
        let mut send = self.sqs.send_message().queue_url(queue).message_body(BODY);
        for (name, value) in texts {
            let value = MessageAttributeValue::builder().data_type("String").string_value(*value);
            send = send.message_attributes(*name, value.build().expect("a type is given"));
        }
        send.send().await.expect("moto takes it");
    }

    /// Receives everything that a queue shows, and hides it for so many seconds.
    async fn receive(&self, queue: &str, visibility_timeout: i32) -> Vec<Message> {
        let mut all = Vec::new();
        loop {
            let receive = self.sqs.receive_message().queue_url(queue).max_number_of_messages(10);
            let receive = receive.message_attribute_names("All");
            let receive = receive.visibility_timeout(visibility_timeout);
            let received = receive.send().await.expect("moto answers").messages;
            match received.filter(|messages| !messages.is_empty()) {
                Some(messages) => all.extend(messages),
                None => return all,
            }
        }
    }

    fn audit(&self) -> Vec<Value> {
        let path = self.directory.path().join("remit/dlq-audit.ndjson");
        let text = std::fs::read_to_string(path).expect("an audit log");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // Nothing is left to do for a process that has ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The main queue, from which a message dies after one receive, and the dead-letter queue.
async fn queues(sqs: &aws_sdk_sqs::Client) -> (String, String) {
    let create = async |name: &str, policy: Option<String>| {
        let create = sqs.create_queue().queue_name(name);
        let create = match policy {
            Some(policy) => create.attributes(QueueAttributeName::RedrivePolicy, policy),
            None => create,
        };
        create.send().await.expect("moto makes it").queue_url.expect("a URL")
    };
    let dead = create("submit-payment-dlq", None).await;
    let arn = "arn:aws:sqs:us-east-1:123456789012:submit-payment-dlq";
    let policy = json!({ "deadLetterTargetArn": arn, "maxReceiveCount": 1 });
    (create("submit-payment-queue", Some(policy.to_string())).await, dead)
}

fn note(reason: &str) -> String {
    json!({
        "reason": reason, "detail": "put payment", "originalMessageId": "first", "receiveCount": 5,
        "functionVersion": "7", "at": "2026-11-20T12:00:00.000Z", "redriveCount": 1,
    })
    .to_string()
}

fn text(message: &Message, name: &str) -> String {
    let attributes = message.message_attributes.as_ref().expect("attributes");
    attributes[name].string_value().expect("a text").to_owned()
}

#[tokio::test]
async fn letters_go_back_byte_for_byte_and_nothing_else_moves_on_queues_of_another_make() {
    let moto = Moto::start().await;
    for index in 0..25 {
        let reason = if index % 5 == 0 { "unavailable" } else { "throttled" };
        let (request, note) = (format!("request-{index}"), note(reason));
        let texts = [("sub", "user"), ("requestId", &*request), ("deadLetter", &*note)];
        moto.send(&moto.dead, &texts).await;
    }
    // One that the queue moves itself: received once, which is all it may be, and then once more.
    moto.send(&moto.main, &[("sub", "user"), ("requestId", "request-moved")]).await;
    assert_eq!(moto.receive(&moto.main, 0).await.len(), 1);
    assert!(moto.receive(&moto.main, 0).await.is_empty());

    let summary = moto.lines(&["summary", "--json"]).remove(0);
    let count = |reason: &str| {
        let reasons = summary["reasons"].as_array().expect("a list");
        let found = reasons.iter().find(|group| group["reason"] == reason);
        found.map_or(0, |group| group["count"].as_u64().expect("a number"))
    };
    assert_eq!((count("throttled"), count("unavailable"), count("unknown")), (20, 5, 1));
    assert_eq!(moto.lines(&["list", "--json", "--reason", "unknown"]).len(), 1);

    let redrive = ["redrive", "--reason", "throttled,unknown", "--no-follow", "--yes"];
    let output = moto.dlq(&redrive);
    assert!(output.status.success(), "{output:?}");
    let sent = moto.receive(&moto.main, 600).await;
    assert_eq!(sent.len(), 21);
    let mut requests = BTreeSet::new();
    for message in &sent {
        assert_eq!(message.body(), Some(BODY));
        assert_eq!(text(message, "sub"), "user");
        let note: Value = serde_json::from_str(&text(message, "deadLetter")).expect("JSON");
        let request = text(message, "requestId");
        let moved = request == "request-moved";
        let expected = if moved { json!(["unknown", 1]) } else { json!(["throttled", 2]) };
        assert_eq!(json!([note["reason"], note["redriveCount"]]), expected);
        requests.insert(request);
    }
    assert_eq!(requests.len(), 21, "each once");
    let left = moto.lines(&["list", "--json"]);
    assert_eq!(left.len(), 5);
    assert!(left.iter().all(|line| line["reason"] == "unavailable"));

    let audit = moto.audit();
    let principal = audit[0]["who"]["principal"].as_str().expect("STS says who");
    assert!(principal.starts_with("arn:aws:"), "{principal}");
    assert_eq!(audit[0]["messageIds"].as_array().map(Vec::len), Some(21));
    assert_eq!(audit.last().map(|line| line["sent"].clone()), Some(json!(21)));
}

#[tokio::test]
async fn letters_are_archived_before_they_are_discarded_and_errors_say_what_to_do() {
    let moto = Moto::start().await;
    for _ in 0..12 {
        moto.send(&moto.dead, &[("deadLetter", &note("unverified"))]).await;
    }
    let path = moto.directory.path().join("archive.ndjson");
    let archive = path.to_str().expect("UTF-8");
    let exported = moto.dlq(&["export", "--out", archive]);
    assert!(exported.status.success(), "{exported:?}");
    let discard = ["discard", "--why", "forged", "--archive", archive, "--yes"];
    let discarded = moto.dlq(&discard);
    assert!(discarded.status.success(), "{discarded:?}");
    let text = std::fs::read_to_string(&path).expect("the archive");
    assert_eq!(text.lines().count(), 12, "none twice");
    assert!(text.lines().all(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["body"] == BODY
    }));
    assert!(moto.receive(&moto.dead, 0).await.is_empty());

    let fails = |arguments: &[&str], part: &str| {
        let output = moto.dlq(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(part), "{error}");
    };
    fails(&["redrive", "--yes"], "give --payments-table and --refusals-table; or give --no-follow");
    let absent =
        ["dlq", "summary", "--dead-letter-queue-url", "http://localhost/123456789012/nothing"];
    let output = Command::new(env!("CARGO_BIN_EXE_ops"))
        .args(absent)
        .args(["--queue-url", &moto.main, "--region", "us-east-1"])
        .env("AWS_ENDPOINT_URL", &moto.endpoint)
        .env("AWS_ACCESS_KEY_ID", "any")
        .env("AWS_SECRET_ACCESS_KEY", "any")
        .env("XDG_STATE_HOME", moto.directory.path())
        .output()
        .expect("the binary runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("check --queue-url"), "{error}");
}
