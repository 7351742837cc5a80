//! The language of the stories: a pipeline, what one does to it, and what one then sees.

use std::collections::HashMap;
use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::{Message, MessageAttributeValue, QueueAttributeName};
use md5::{Digest, Md5};
use reqwest::{Response, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use uuid::Uuid;

/// How long a story waits for what it expects. Far more than it takes; a machine may be slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Attributes of an item by name.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// A running pipeline with a directory and ports of its own. Dropping it kills it.
pub(crate) struct Stack {
    process: Child,
    directory: TempDir,
    flags: Vec<String>,
    pub(crate) ready: Value,
    http: reqwest::Client,
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
}

/// What the gateway answered to an accepted payment.
pub(crate) struct Accepted {
    pub(crate) request_id: String,
    pub(crate) message_id: String,
}

/// Starts this binary as the pipeline, with these arguments.
pub(crate) fn pipeline(arguments: &[String]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(crate::PIPELINE).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Waits for a condition, within a bound.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    loop {
        ticks.tick().await;
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} until {what}");
    }
}

impl Stack {
    /// A pipeline with the defaults, but any free ports and the first retry at once.
    pub(crate) async fn start() -> Stack {
        Stack::start_with(&[]).await
    }

    /// A pipeline with more flags.
    pub(crate) async fn start_with(flags: &[&str]) -> Stack {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Stack::start_in(directory, flags).await
    }

    async fn start_in(directory: TempDir, flags: Vec<String>) -> Stack {
        let ready_file = directory.path().join("ready.json");
        // What a killed pipeline left says nothing of the next one.
        let _ = std::fs::remove_file(&ready_file);
        let mut arguments: Vec<String> =
            ["--api-port", "0", "--queue-port", "0", "--table-port", "0"].map(str::to_owned).into();
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        arguments.extend(["--data-dir".to_owned(), path(&directory.path().join("data"))]);
        arguments.extend(["--ready-file".to_owned(), path(&ready_file)]);
        if !flags.iter().any(|flag| flag == "--retry-delay") {
            arguments.extend(["--retry-delay", "0"].map(str::to_owned));
        }
        arguments.extend(flags.iter().cloned());
        let log = |name: &str| {
            let path = directory.path().join(name);
            File::options().create(true).append(true).open(path).unwrap()
        };
        let mut process =
            pipeline(&arguments).stdout(log("out.log")).stderr(log("err.log")).spawn().unwrap();
        let ready = until("the pipeline is ready", || {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", read(&directory.path().join("err.log")));
            let ready = std::fs::read(&ready_file).ok();
            async move { ready.map(|bytes| serde_json::from_slice::<Value>(&bytes).unwrap()) }
        })
        .await;
        Stack {
            http: reqwest::Client::new(),
            dynamodb: dynamodb(ready["table"].as_str().unwrap()),
            sqs: sqs(ready["queue"].as_str().unwrap()),
            process,
            directory,
            flags,
            ready,
        }
    }

    /// Kills the whole pipeline at once, as a power cut would, and starts it again.
    pub(crate) async fn kill_and_restart(mut self) -> Stack {
        self.process.kill().await.unwrap();
        Stack::start_in(self.directory, self.flags).await
    }

    /// Stops the pipeline as Ctrl-C does, and returns whether it ended well.
    pub(crate) async fn interrupt(&mut self) -> bool {
        self.signal(self.process_id(), Signal::INT);
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        ended.expect("it stops").unwrap().success()
    }

    /// Starts a stopped pipeline again, with these flags.
    pub(crate) async fn restart_with(self, flags: &[&str]) -> Stack {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Stack::start_in(self.directory, flags).await
    }

    /// Makes everything that is kept older by so many days, as if that time had passed: messages by the
    /// queue's clock, and what is on record. The pipeline is stopped meanwhile.
    pub(crate) async fn later_by_days(mut self, days: i64) -> Stack {
        let older_ms = days * 24 * 60 * 60 * 1_000;
        for record in self.records().await {
            let mut older = record.clone();
            for name in ["acceptedAt", "recordedAt", "heldAt"] {
                if let Some(at) = record.get(name) {
                    let at = time_ms(at.as_s().unwrap()) - older_ms;
                    let at = schema::timestamp::rfc3339(at);
                    older.insert(name.to_owned(), AttributeValue::S(at));
                }
            }
            let put = self.dynamodb.put_item().table_name(self.at("refusalsTable"));
            put.set_item(Some(older)).send().await.unwrap();
        }
        assert!(self.interrupt().await);
        let queues = rusqlite::Connection::open(self.data_dir().join("queues.sqlite")).unwrap();
        let older = "UPDATE messages SET sent_ms = sent_ms - ?1, due_ms = due_ms - ?1";
        queues.execute(older, [older_ms]).unwrap();
        queues.close().unwrap();
        let flags = self.flags.clone();
        Stack::start_in(self.directory, flags).await
    }

    fn process_id(&self) -> u32 {
        self.process.id().expect("the pipeline runs")
    }

    /// Sends a signal to a process.
    #[expect(clippy::unused_self, reason = "reads as a deed of the story")]
    pub(crate) fn signal(&self, process_id: u32, signal: Signal) {
        let process = Pid::from_raw(i32::try_from(process_id).unwrap()).unwrap();
        // It may have ended already, and been replaced.
        let _ = kill_process(process, signal);
    }

    /// The processes of the function that stores payments.
    pub(crate) fn function_processes(&self) -> Vec<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process_id())).unwrap();
        let children = |task: std::fs::DirEntry| {
            std::fs::read_to_string(task.path().join("children")).unwrap_or_default()
        };
        let children: String = tasks.flatten().map(children).collect();
        let submits = |id: &&str| {
            let command = std::fs::read_to_string(format!("/proc/{id}/cmdline"));
            command.unwrap_or_default().contains(local::functions::SUBMIT)
        };
        children.split_whitespace().filter(submits).map(|id| id.parse().unwrap()).collect()
    }

    /// An address, a name or a URL of the ready file.
    pub(crate) fn at(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap()
    }

    /// Everything that the pipeline and its functions have logged.
    pub(crate) fn logs(&self) -> String {
        let paths = [PathBuf::from("err.log"), PathBuf::from("data").join("functions.log")];
        paths.map(|path| read(&self.directory.path().join(path))).concat()
    }

    /// The directory in which the pipeline keeps everything.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A payment of the demo user, with an id of its own.
    pub(crate) fn payment(&self) -> Value {
        json!({
            "paymentId": Uuid::new_v4().to_string(),
            "userId": self.at("userId"),
            "amount": "10.50",
            "currency": "GBP",
            "description": "Invoice 4711",
        })
    }

    /// A client of the API.
    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Submits bytes with any token and content type, whatever comes of it.
    pub(crate) async fn put(&self, token: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.http.put(format!("{}/submit", self.at("api")));
        let request = request.header("authorization", format!("Bearer {token}"));
        request.header("content-type", "application/json").body(body).send().await.unwrap()
    }

    /// Submits bytes as the demo user; they must be accepted, and be what was queued.
    pub(crate) async fn submit_bytes(&self, body: &str) -> Accepted {
        let response = self.put(self.at("token"), body.to_owned()).await;
        let status = response.status();
        let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(answer["status"], "accepted");
        assert_eq!(answer["bodyMd5"], md5_of(body));
        let text =
            |name: &str| answer[name].as_str().filter(|text| !text.is_empty()).unwrap().into();
        Accepted { request_id: text("requestId"), message_id: text("messageId") }
    }

    /// Submits a payment as the demo user; it must be accepted.
    pub(crate) async fn submit(&self, payment: &Value) -> Accepted {
        self.submit_bytes(&payment.to_string()).await
    }

    /// Puts a message straight on the main queue, past the gateway.
    pub(crate) async fn send(&self, body: &str, attributes: &[(&str, &str)]) -> String {
        let mut send = self.sqs.send_message().queue_url(self.at("queueUrl")).message_body(body);
        for (name, value) in attributes {
            let value = MessageAttributeValue::builder().data_type("String").string_value(*value);
            send = send.message_attributes(*name, value.build().unwrap());
        }
        send.send().await.unwrap().message_id.unwrap()
    }

    /// The item of a payment, if it is stored.
    pub(crate) async fn item(&self, payment: &Value) -> Option<Item> {
        let key = |name: &str| AttributeValue::S(payment[name].as_str().unwrap().to_owned());
        let get = self.dynamodb.get_item().table_name(self.at("paymentsTable"));
        let get = get.key("paymentId", key("paymentId")).key("userId", key("userId"));
        get.consistent_read(true).send().await.unwrap().item
    }

    /// The item of a payment, as soon as it is stored.
    pub(crate) async fn stored(&self, payment: &Value) -> Item {
        until("the payment is stored", || self.item(payment)).await
    }

    /// How many payments are stored.
    pub(crate) async fn stored_count(&self) -> usize {
        self.scan("paymentsTable").await.len()
    }

    /// Everything on record of refused and held payments.
    pub(crate) async fn records(&self) -> Vec<Item> {
        self.scan("refusalsTable").await
    }

    /// The record of a request, as soon as there is one.
    pub(crate) async fn record_of(&self, request_id: &str) -> Item {
        let is_of = |record: &Item| text(record, "requestId") == request_id;
        until("the request is on record", || async { self.records().await.into_iter().find(is_of) })
            .await
    }

    async fn scan(&self, table: &str) -> Vec<Item> {
        let scan = self.dynamodb.scan().table_name(self.at(table)).consistent_read(true);
        scan.into_paginator().items().send().collect::<Result<_, _>>().await.unwrap()
    }

    /// The dead letters, as soon as there are so many.
    pub(crate) async fn dead_letters(&self, count: usize) -> Vec<Message> {
        let mut letters = Vec::new();
        while letters.len() < count {
            let receive = self.sqs.receive_message().queue_url(self.at("deadLetterQueueUrl"));
            let receive = receive.message_attribute_names("All").wait_time_seconds(20);
            let received = receive.visibility_timeout(600).send().await.unwrap();
            let messages = received.messages.unwrap_or_default();
            assert!(!messages.is_empty(), "{count} dead letters, but {}", letters.len());
            letters.extend(messages);
        }
        letters
    }

    /// Every dead letter that can be received now.
    pub(crate) async fn all_dead_letters(&self) -> Vec<Message> {
        let visible = QueueAttributeName::ApproximateNumberOfMessages;
        self.dead_letters(self.count_of("deadLetterQueueUrl", visible).await).await
    }

    /// One of the counts of the main queue.
    pub(crate) async fn queue_count(&self, name: QueueAttributeName) -> usize {
        self.count_of("queueUrl", name).await
    }

    /// One of the counts of a queue.
    pub(crate) async fn count_of(&self, queue: &str, name: QueueAttributeName) -> usize {
        let get = self.sqs.get_queue_attributes().queue_url(self.at(queue));
        let attributes = get.attribute_names(name.clone()).send().await.unwrap().attributes;
        attributes.unwrap()[&name].parse().unwrap()
    }

    /// Waits until the main queue holds nothing, neither visible nor in flight. Both are asked for at
    /// once: a message that changes from one to the other between two questions would be in neither.
    pub(crate) async fn drained(&self) {
        until("the queue is empty", || async {
            let get = self.sqs.get_queue_attributes().queue_url(self.at("queueUrl"));
            let get = get
                .attribute_names(QueueAttributeName::ApproximateNumberOfMessages)
                .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesNotVisible);
            let counts = get.send().await.unwrap().attributes.unwrap();
            assert_eq!(counts.len(), 2);
            counts.values().all(|count| count == "0").then_some(())
        })
        .await;
    }

    /// Sends all dead letters back to the main queue, as an operator does.
    pub(crate) async fn move_dead_letters_back(&self) {
        let arn = |name: &str| {
            let queue = self.at(name).rsplit('/').next().unwrap().to_owned();
            format!("arn:aws:sqs:us-east-1:000000000000:{queue}")
        };
        let move_task = self.sqs.start_message_move_task();
        let move_task = move_task.source_arn(arn("deadLetterQueueUrl"));
        move_task.destination_arn(arn("queueUrl")).send().await.unwrap();
    }

    /// Takes the table of payments away, and returns what brings it back.
    pub(crate) async fn break_table(&self) -> BrokenTable {
        let name = self.at("paymentsTable").to_owned();
        let table = self.dynamodb.describe_table().table_name(&name).send().await.unwrap();
        self.dynamodb.delete_table().table_name(&name).send().await.unwrap();
        BrokenTable { table: table.table.unwrap() }
    }

    /// Brings the table of payments back, empty.
    pub(crate) async fn mend(&self, broken: BrokenTable) {
        use aws_sdk_dynamodb::types::{BillingMode, GlobalSecondaryIndex};
        let table = broken.table;
        let index = |index: aws_sdk_dynamodb::types::GlobalSecondaryIndexDescription| {
            GlobalSecondaryIndex::builder()
                .set_index_name(index.index_name)
                .set_key_schema(index.key_schema)
                .set_projection(index.projection)
                .build()
                .unwrap()
        };
        let indexes = table.global_secondary_indexes.unwrap_or_default();
        self.dynamodb
            .create_table()
            .set_table_name(table.table_name)
            .set_attribute_definitions(table.attribute_definitions)
            .set_key_schema(table.key_schema)
            .set_global_secondary_indexes(Some(indexes.into_iter().map(index).collect()))
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await
            .unwrap();
    }
}

/// A table that was taken away.
pub(crate) struct BrokenTable {
    table: aws_sdk_dynamodb::types::TableDescription,
}

/// A time as records hold it, in milliseconds since 1970.
fn time_ms(text: &str) -> i64 {
    let since = humantime::parse_rfc3339(text).unwrap().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// MD5 in hexadecimal.
pub(crate) fn md5_of(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A string attribute of an item.
pub(crate) fn text<'a>(item: &'a Item, name: &str) -> &'a str {
    item.get(name).and_then(|value| value.as_s().ok()).map_or("", String::as_str)
}

/// The reason attribute of a dead letter.
pub(crate) fn dead_letter(message: &Message) -> Value {
    let attributes = message.message_attributes.as_ref().unwrap();
    serde_json::from_str(attributes["deadLetter"].string_value().unwrap()).unwrap()
}

/// An item as the JSON that it was made of; numbers as their text.
pub(crate) fn json_of(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!(text),
        AttributeValue::N(number) => json!({ "N": number }),
        AttributeValue::Bool(value) => json!(value),
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::L(items) => items.iter().map(json_of).collect(),
        AttributeValue::M(members) => {
            members.iter().map(|(name, value)| (name.clone(), json_of(value))).collect()
        }
        other => panic!("no body has {other:?}"),
    }
}

fn read(path: &Path) -> String {
    std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

fn dynamodb(endpoint: &str) -> aws_sdk_dynamodb::Client {
    use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "stories"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(endpoint);
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

fn sqs(endpoint: &str) -> aws_sdk_sqs::Client {
    use aws_sdk_sqs::config::{BehaviorVersion, Region};
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "stories"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(endpoint);
    aws_sdk_sqs::Client::from_conf(config.build())
}
