//! What the conformance cases cannot say: the query protocol on the wire, waiting, durability,
//! move tasks, and the queue inside this process.

#![expect(clippy::unwrap_used, reason = "what fails in a helper fails its test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::http::Request;
use queue::{Counts, Message, QueueError, Queues};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

const BASE: &str = "http://127.0.0.1:9324";
/// Longer than anything here takes; a wait that ends by it has failed.
const WAIT: Duration = Duration::from_secs(60);

fn queues(directory: &Path) -> Queues {
    Queues::open(&directory.join("queue.db"), BASE).unwrap()
}

async fn queue(attributes: &[(&str, &str)]) -> (TempDir, Queues) {
    let directory = tempfile::tempdir().unwrap();
    let queues = queues(directory.path());
    let attributes: Vec<_> =
        attributes.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    queues.create("dead", &[]).await.unwrap();
    queues.create("main", &attributes).await.unwrap();
    (directory, queues)
}

fn message(body: impl Into<String>) -> Message {
    Message::new(body.into(), BTreeMap::new()).unwrap()
}

async fn send(queues: &Queues, name: &str, bodies: &[&str]) {
    let messages = bodies.iter().map(|body| message(*body)).collect();
    for result in queues.send(name, messages).await.unwrap() {
        result.unwrap();
    }
}

async fn receive_now(queues: &Queues, name: &str) -> Vec<String> {
    let messages = queues.receive(name, 10, Duration::ZERO).await.unwrap();
    messages.into_iter().map(|message| message.body).collect()
}

fn redrive(queues: &Queues, receives_max: u32) -> String {
    let policy = json!({
        "deadLetterTargetArn": queues.arn("dead"),
        "maxReceiveCount": receives_max,
    });
    policy.to_string()
}

// The protocols on the wire.

struct Wire {
    status: u16,
    headers: axum::http::HeaderMap,
    body: String,
}

async fn post(queues: &Queues, path: &str, headers: &[(&str, &str)], body: &str) -> Wire {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let response = queues.router().oneshot(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    Wire { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const ASKS_JSON: (&str, &str) = ("accept", "application/json");

#[tokio::test]
async fn the_gateway_gets_json_for_its_form() {
    let (_directory, queues) = queue(&[]).await;
    let form = "Action=SendMessage&MessageBody=%7B%22a%22%3A%22%26%3D+%2B%25%22%7D\
        &MessageGroupId=me%26you\
        &MessageAttribute.1.Name=sub&MessageAttribute.1.Value.DataType=String\
        &MessageAttribute.1.Value.StringValue=me%26you\
        &MessageSystemAttribute.1.Name=AWSTraceHeader\
        &MessageSystemAttribute.1.Value.DataType=String\
        &MessageSystemAttribute.1.Value.StringValue=Root%3D1-2-3";
    let sent = post(&queues, "/000000000000/main", &[FORM, ASKS_JSON], form).await;
    assert_eq!(sent.status, 200, "{}", sent.body);
    assert_eq!(sent.headers["content-type"], "application/json");
    let answer: Value = serde_json::from_str(&sent.body).unwrap();
    let result = &answer["SendMessageResponse"]["SendMessageResult"];
    assert!(answer["SendMessageResponse"]["ResponseMetadata"]["RequestId"].is_string());

    let received = &queues.receive("main", 1, Duration::ZERO).await.unwrap()[0];
    assert_eq!(received.body, r#"{"a":"&= +%"}"#);
    assert_eq!(result["MessageId"], received.message_id.as_str());
    assert_eq!(result["MD5OfMessageBody"], received.md5_of_body.as_str());
    assert_eq!(
        result["MD5OfMessageAttributes"].as_str(),
        received.md5_of_message_attributes.as_deref()
    );
    assert_eq!(received.attributes["AWSTraceHeader"], "Root=1-2-3");
    assert_eq!(received.attributes["MessageGroupId"], "me&you");
    assert_eq!(received.message_attributes["sub"].data_type, "String");
}

async fn check_xml(queues: &Queues, form: &str, status: u16, contained: &[&str]) {
    let wire = post(queues, "/000000000000/main", &[FORM], form).await;
    assert_eq!(wire.status, status, "{form}\n{}", wire.body);
    assert_eq!(wire.headers["content-type"], "text/xml");
    for part in contained {
        assert!(wire.body.contains(part), "no {part} in the answer to {form}:\n{}", wire.body);
    }
}

#[tokio::test]
async fn the_query_protocol_answers_xml() {
    let (_directory, queues) = queue(&[]).await;
    check_xml(
        &queues,
        "Action=GetQueueUrl&QueueName=main",
        200,
        &[
            "<GetQueueUrlResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\">\
         <GetQueueUrlResult><QueueUrl>http://127.0.0.1:9324/000000000000/main</QueueUrl>",
            "<ResponseMetadata><RequestId>",
        ],
    )
    .await;
    check_xml(
        &queues,
        "Action=SetQueueAttributes&Attribute.1.Name=VisibilityTimeout&Attribute.1.Value=40",
        200,
        &["<SetQueueAttributesResponse xmlns="],
    )
    .await;
    check_xml(
        &queues,
        "Action=GetQueueAttributes&AttributeName.1=VisibilityTimeout",
        200,
        &["<Attribute><Name>VisibilityTimeout</Name><Value>40</Value></Attribute>"],
    )
    .await;
    check_xml(
        &queues,
        "Action=SendMessageBatch&SendMessageBatchRequestEntry.2.Id=b\
         &SendMessageBatchRequestEntry.2.MessageBody=%01\
         &SendMessageBatchRequestEntry.1.Id=a&SendMessageBatchRequestEntry.1.MessageBody=%3C%0D%26\
         &SendMessageBatchRequestEntry.1.MessageAttribute.1.Name=n\
         &SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.DataType=Number\
         &SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringValue=12",
        200,
        &[
            "<SendMessageBatchResultEntry><Id>a</Id>",
            "<BatchResultErrorEntry><Code>InvalidMessageContents</Code><Id>b</Id>",
            "<SenderFault>true</SenderFault>",
        ],
    )
    .await;
    check_xml(
        &queues,
        "Action=ReceiveMessage&AttributeName.1=All&MessageAttributeName.1=n",
        200,
        &[
            "<ReceiveMessageResult><Message>",
            "<Body>&lt;&#xD;&amp;</Body>",
            "<Attribute><Name>ApproximateReceiveCount</Name><Value>1</Value></Attribute>",
            "<MessageAttribute><Name>n</Name><Value><DataType>Number</DataType>\
         <StringValue>12</StringValue></Value></MessageAttribute>",
        ],
    )
    .await;
    check_xml(
        &queues,
        "Action=ReceiveMessage",
        200,
        &["<ReceiveMessageResult></ReceiveMessageResult>"],
    )
    .await;
}

/// As AWS writes its own sample requests.
#[tokio::test]
async fn the_query_protocol_takes_a_list_of_one_without_a_number_and_a_path_that_ends_in_a_slash() {
    let (_directory, queues) = queue(&[]).await;
    for (form, part) in [
        ("Action=SetQueueAttributes&Attribute.Name=VisibilityTimeout&Attribute.Value=35", ""),
        ("Action=GetQueueAttributes&AttributeName=All", "<Value>35</Value>"),
        (
            "Action=SendMessage&MessageBody=a&MessageAttribute.Name=x\
          &MessageAttribute.Value.DataType=String&MessageAttribute.Value.StringValue=y",
            "",
        ),
        ("Action=ReceiveMessage&AttributeName=All&MessageAttributeName=x", "<StringValue>y</"),
    ] {
        let wire = post(&queues, "/000000000000/main/", &[FORM], form).await;
        assert_eq!(wire.status, 200, "{form}: {}", wire.body);
        assert!(wire.body.contains(part), "{form}: {}", wire.body);
    }
    let mixed = "Action=SetQueueAttributes&Attribute.Name=DelaySeconds&Attribute.1.Value=3";
    check_xml(&queues, mixed, 400, &["<Code>MalformedQueryString</Code>"]).await;
}

#[tokio::test]
async fn a_traced_request_gives_its_trace_to_messages_that_have_none() {
    let (_directory, queues) = queue(&[]).await;
    let header = ("x-amzn-trace-id", "Root=1-3152b799-8954dae64eda91bc9a23a7e8;Sampled=1");
    let own = "&MessageSystemAttribute.1.Name=AWSTraceHeader\
        &MessageSystemAttribute.1.Value.DataType=String\
        &MessageSystemAttribute.1.Value.StringValue=Root%3D1-2-3";
    for (own, expected) in [("", header.1), (own, "Root=1-2-3")] {
        let form = format!("Action=SendMessage&MessageBody=a{own}");
        let sent = post(&queues, "/000000000000/main", &[FORM, header], &form).await;
        // The digest covers what stands in the request.
        let has_digest = sent.body.contains("MD5OfMessageSystemAttributes");
        assert_eq!((sent.status, has_digest), (200, !own.is_empty()), "{}", sent.body);
        let received = queues.receive("main", 1, WAIT).await.unwrap();
        assert_eq!(received[0].attributes["AWSTraceHeader"], expected);
    }
}

#[tokio::test]
async fn a_fifo_queue_is_refused_by_that_word() {
    let (_directory, queues) = queue(&[]).await;
    for attributes in [json!({}), json!({"FifoQueue": "true"})] {
        let input = json!({"QueueName": "main.fifo", "Attributes": attributes});
        let refused = call(&queues, "CreateQueue", input).await.unwrap_err();
        assert!(refused.contains("FIFO queue"), "{refused}");
    }
}

#[tokio::test]
async fn attributes_without_effect_are_kept_and_told_of_once() {
    let (_directory, queues) = queue(&[]).await;
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let set = async |attributes: Value| {
        let input = json!({"QueueUrl": queues.url("main"), "Attributes": attributes});
        call(&queues, "SetQueueAttributes", input).await.unwrap();
    };
    set(json!({"DelaySeconds": "0", "Policy": "", "KmsMasterKeyId": ""})).await;
    assert_eq!(log.text(), "");
    set(json!({"Policy": "{}"})).await;
    set(json!({"KmsMasterKeyId": "alias/aws/sqs", "KmsDataKeyReusePeriodSeconds": "300"})).await;
    let (text, told) = (log.text(), "does not apply them");
    assert_eq!(text.matches(told).count(), 1, "{text}");
    assert!(text.contains("WARN") && text.contains("Policy"), "{text}");
    let asked = json!({"QueueUrl": queues.url("main"), "AttributeNames": ["All"]});
    let kept = call(&queues, "GetQueueAttributes", asked).await.unwrap();
    assert_eq!(kept["Attributes"]["KmsMasterKeyId"], "alias/aws/sqs");
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = Log;

    fn make_writer(&self) -> Log {
        self.clone()
    }
}

#[tokio::test]
async fn the_query_protocol_refuses_in_xml() {
    let (_directory, queues) = queue(&[]).await;
    check_xml(
        &queues,
        "Action=Nonsense",
        400,
        &["<Code>InvalidAction</Code>", "<Type>Sender</Type>"],
    )
    .await;
    check_xml(&queues, "", 400, &["<Code>MissingParameter</Code>"]).await;
    check_xml(
        &queues,
        "Action=SendMessage&MessageBody=%ff",
        400,
        &["<Code>MalformedQueryString</Code>"],
    )
    .await;
    check_xml(
        &queues,
        "Action=ReceiveMessage&QueueUrl=http://x/000000000000/no",
        400,
        &["<ErrorResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\"><Error>\
         <Code>AWS.SimpleQueueService.NonExistentQueue</Code>\
         <Message>The specified queue does not exist for this wsdl version.</Message>"],
    )
    .await;
}

#[tokio::test]
async fn json_errors_carry_the_code_of_the_query_protocol() {
    let (_directory, queues) = queue(&[]).await;
    let check = async |target: &str, body: &str, status: u16, shape: &str, code: &str| {
        let wire = post(&queues, "/", &[("x-amz-target", target)], body).await;
        assert_eq!(wire.status, status, "{}", wire.body);
        assert_eq!(wire.headers["content-type"], "application/x-amz-json-1.0");
        assert_eq!(wire.headers["x-amzn-query-error"], code);
        let answer: Value = serde_json::from_str(&wire.body).unwrap();
        assert_eq!(answer["__type"], shape);
    };
    check(
        "AmazonSQS.GetQueueUrl",
        r#"{"QueueName":"no"}"#,
        400,
        "com.amazonaws.sqs#QueueDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue;Sender",
    )
    .await;
    check(
        "AmazonSQS.SendMessage",
        r#"{"QueueUrl":"http://x/000000000000/main"}"#,
        400,
        "com.amazon.coral.service#MissingRequiredParameterException",
        "MissingParameter;Sender",
    )
    .await;
    check(
        "AmazonSQS.SendMessage",
        r#"{"MessageBody":"\ud800"}"#,
        400,
        "com.amazon.coral.service#SerializationException",
        "MalformedQueryString;Sender",
    )
    .await;
    check(
        "Other.SendMessage",
        "{}",
        400,
        "com.amazon.coral.service#UnknownOperationException",
        "InvalidAction;Sender",
    )
    .await;
}

// Waiting. A waiter that is not woken waits for a minute, and then the body is missing.

#[tokio::test]
async fn a_waiter_is_woken_by_a_send() {
    let (_directory, queues) = queue(&[]).await;
    let waiter = queues.clone();
    let waiting = tokio::spawn(async move { waiter.receive("main", 1, WAIT).await.unwrap() });
    tokio::task::yield_now().await;
    let started = Instant::now();
    send(&queues, "main", &["a"]).await;
    assert_eq!(waiting.await.unwrap()[0].body, "a");
    assert!(started.elapsed() < WAIT / 2);
}

#[tokio::test]
async fn a_waiter_is_woken_when_a_timeout_or_a_delay_ends() {
    let (_directory, queues) = queue(&[("VisibilityTimeout", "1"), ("DelaySeconds", "1")]).await;
    send(&queues, "main", &["a"]).await;
    let started = Instant::now();
    for receives in ["1", "2"] {
        let received = &queues.receive("main", 1, WAIT).await.unwrap()[0];
        assert_eq!(received.attributes["ApproximateReceiveCount"], receives);
    }
    assert!(started.elapsed() < WAIT / 2);
}

#[tokio::test]
async fn a_waiter_at_the_dead_letters_is_woken_by_a_redrive() {
    let (_directory, queues) = queue(&[("VisibilityTimeout", "0")]).await;
    queues.create("main", &[("RedrivePolicy", redrive(&queues, 1))]).await.unwrap();
    send(&queues, "main", &["poison"]).await;
    let waiter = queues.clone();
    let waiting = tokio::spawn(async move { waiter.receive("dead", 1, WAIT).await.unwrap() });
    assert_eq!(receive_now(&queues, "main").await, ["poison"]);
    assert!(receive_now(&queues, "main").await.is_empty());
    let dead = &waiting.await.unwrap()[0];
    assert_eq!(dead.attributes["DeadLetterQueueSourceArn"], queues.arn("main"));
}

#[tokio::test]
async fn a_waiter_at_a_deleted_queue_is_told() {
    let (_directory, queues) = queue(&[]).await;
    let waiter = queues.clone();
    let waiting = tokio::spawn(async move { waiter.receive("main", 1, WAIT).await });
    tokio::task::yield_now().await;
    let form = "Action=DeleteQueue";
    assert_eq!(post(&queues, "/000000000000/main", &[FORM], form).await.status, 200);
    assert!(matches!(waiting.await.unwrap(), Err(QueueError::NoSuchQueue)));
}

// In this process.

#[tokio::test]
async fn a_refused_call_harms_none_that_shares_its_transaction() {
    let (_directory, queues) = queue(&[("MaximumMessageSize", "1024")]).await;
    let long = "a".repeat(1_025);
    let call = async |index: usize| match index % 3 {
        0 => queues.send("missing", vec![message("lost")]).await.is_err(),
        1 => queues.send("main", vec![message(long.clone())]).await.unwrap()[0].is_err(),
        _ => queues.send("main", vec![message(format!("{index}"))]).await.unwrap()[0].is_ok(),
    };
    let outcomes = futures::future::join_all((0..300).map(call)).await;
    assert!(outcomes.into_iter().all(|expected| expected));
    assert_eq!(queues.counts("main").await.unwrap().visible, 100);
}

#[tokio::test]
async fn a_bad_handle_does_not_keep_its_neighbours_alive() {
    let (_directory, queues) = queue(&[]).await;
    send(&queues, "main", &["a"]).await;
    let handle = queues.receive("main", 1, WAIT).await.unwrap()[0].receipt_handle.clone();
    let deleted = queues.delete("main", vec!["garbage".into(), handle]).await;
    assert!(matches!(deleted, Err(QueueError::InvalidHandle(_))));
    assert_eq!(queues.counts("main").await.unwrap(), Counts::default());
}

#[tokio::test]
async fn no_more_than_120_000_messages_are_in_flight() {
    let (_directory, queues) = queue(&[("VisibilityTimeout", "43200")]).await;
    for _ in 0..13 {
        let messages = (0..10_000).map(|_| message("a")).collect();
        queues.send("main", messages).await.unwrap();
    }
    let taken = queues.receive("main", 130_000, Duration::ZERO).await.unwrap();
    assert_eq!(taken.len(), 120_000);
    let refused = queues.receive("main", 1, Duration::ZERO).await;
    assert!(matches!(refused, Err(QueueError::OverLimit)));
    // A long poll gets nothing, or what there is room for in the meantime.
    let nothing = queues.receive("main", 1, Duration::from_millis(1)).await.unwrap();
    assert!(nothing.is_empty());
    let waiter = queues.clone();
    let waiting = tokio::spawn(async move { waiter.receive("main", 10, WAIT).await.unwrap() });
    tokio::task::yield_now().await;
    queues.delete("main", vec![taken[0].receipt_handle.clone()]).await.unwrap();
    assert_eq!(waiting.await.unwrap().len(), 1);
}

/// The default is in the cases; this is what a fault can choose instead.
#[tokio::test]
async fn old_handles_can_be_treated_the_other_way() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(1_700_000_000_000));
    let queues = with_clock(directory.path(), &clock).with_old_handles(|| true);
    queues.create("main", &[]).await.unwrap();
    send(&queues, "main", &["a"]).await;
    let change = async |handle: &str| {
        let input = json!({
            "QueueUrl": queues.url("main"), "ReceiptHandle": handle, "VisibilityTimeout": 0,
        });
        call(&queues, "ChangeMessageVisibility", input).await
    };
    let receive = async || {
        let received = queues.receive("main", 1, Duration::ZERO).await.unwrap();
        received[0].receipt_handle.clone()
    };
    let old = receive().await;
    clock.fetch_add(30_000, Ordering::Relaxed);
    assert!(change(&old).await.unwrap_err().contains("MessageNotInflight"));
    let new = receive().await;
    assert!(change(&old).await.unwrap_err().contains("InvalidParameterValue"));
    change(&new).await.unwrap();
    receive().await;
    queues.delete("main", vec![old]).await.unwrap();
    assert_eq!(queues.counts("main").await.unwrap(), Counts::default());
}

#[tokio::test]
async fn a_database_from_before_there_were_groups_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("queue.db");
    let old = rusqlite::Connection::open(&file).unwrap();
    old.execute_batch(
        "CREATE TABLE queues (
             id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
             attributes TEXT NOT NULL, created_ms INTEGER NOT NULL, modified_ms INTEGER NOT NULL,
             purged_ms INTEGER
         ) STRICT;
         CREATE TABLE messages (
             number INTEGER PRIMARY KEY AUTOINCREMENT, queue INTEGER NOT NULL,
             due_ms INTEGER NOT NULL, receives INTEGER NOT NULL DEFAULT 0, sent_ms INTEGER NOT NULL,
             first_received_ms INTEGER, received_ms INTEGER, source TEXT, message_id TEXT NOT NULL,
             trace TEXT, attributes TEXT, body TEXT NOT NULL
         ) STRICT;
         CREATE INDEX due ON messages (queue, due_ms, receives, sent_ms);
         INSERT INTO queues VALUES (1, 'main', '{}', 0, 0, NULL);
         INSERT INTO messages (queue, due_ms, sent_ms, message_id, body)
             VALUES (1, 1700000000000, 1700000000000, 'id', 'kept');",
    )
    .unwrap();
    drop(old);
    let clock = Arc::new(AtomicI64::new(1_700_000_000_000));
    for _ in 0..2 {
        let queues = with_clock(directory.path(), &clock);
        assert_eq!(receive_now(&queues, "main").await, ["kept"]);
        clock.fetch_add(30_000, Ordering::Relaxed);
    }
}

/// What the counts say after changes of every kind is what a restart, which counts anew, finds.
#[tokio::test]
async fn counts_are_those_of_a_recount() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(1_700_000_000_000));
    let mut queues = with_clock(directory.path(), &clock);
    queues.create("dead", &[]).await.unwrap();
    let attributes = [
        ("VisibilityTimeout", "10".to_owned()),
        ("MessageRetentionPeriod", "3600".to_owned()),
        ("MaximumMessageSize", "1024".to_owned()),
        ("RedrivePolicy", redrive(&queues, 2)),
    ];
    queues.create("main", &attributes).await.unwrap();
    let mut handles = Vec::new();
    for round in 1..=1_000 {
        match random.u8(..100) {
            0..30 => {
                let long = random.bool().then(|| message("a".repeat(1_025)));
                let group = if random.bool() { "noisy" } else { "quiet" };
                let grouped = message("a").in_group(group).unwrap();
                let short = if random.bool() { message("a") } else { grouped };
                let count = random.usize(..50);
                let messages = (0..count).map(|_| short.clone()).chain(long).collect();
                queues.send("main", messages).await.unwrap();
            }
            30..60 => {
                let received = queues.receive("main", random.usize(1..9), Duration::ZERO).await;
                handles.extend(received.unwrap().into_iter().map(|message| message.receipt_handle));
            }
            60..80 => {
                random.shuffle(&mut handles);
                let some = handles.split_off(handles.len() / 2);
                queues.delete("main", some).await.unwrap();
            }
            80..97 => {
                clock.fetch_add(random.i64(1..20_000), Ordering::SeqCst);
            }
            97 => {
                clock.fetch_add(1_800_000, Ordering::SeqCst);
            }
            _ => {
                // Refused within a minute of the one before, which is as good.
                let queue = if random.bool() { "main" } else { "dead" };
                let purge = json!({"QueueUrl": queues.url(queue)});
                call(&queues, "PurgeQueue", purge).await.ok();
            }
        }
        if round % 20 == 0 {
            let before =
                (queues.counts("main").await.unwrap(), queues.counts("dead").await.unwrap());
            drop(queues);
            queues = with_clock(directory.path(), &clock);
            let after =
                (queues.counts("main").await.unwrap(), queues.counts("dead").await.unwrap());
            assert_eq!(before, after, "round {round}");
        }
    }
}

// Restarts.

#[tokio::test]
async fn a_restart_keeps_queues_messages_timeouts_and_handles() {
    let (directory, queues) = queue(&[("VisibilityTimeout", "600")]).await;
    send(&queues, "main", &["a", "b"]).await;
    let received = queues.receive("main", 1, WAIT).await.unwrap();
    drop(queues);
    let queues = self::queues(directory.path());
    let counts = queues.counts("main").await.unwrap();
    assert_eq!(counts, Counts { visible: 1, in_flight: 1, delayed: 0 });
    queues.delete("main", vec![received[0].receipt_handle.clone()]).await.unwrap();
    assert_eq!(receive_now(&queues, "main").await, ["b"]);
}

/// Directory of the child that [`acknowledged_messages_survive_a_kill`] starts.
const CHILD: &str = "REMIT_QUEUE_TEST_CHILD";

#[tokio::test]
async fn acknowledged_messages_survive_a_kill() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return send_until_killed(Path::new(&directory)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["acknowledged_messages_survive_a_kill", "--exact", "--nocapture"])
        .env(CHILD, directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let sent = lines.filter_map(|line| line.strip_prefix("sent ").map(str::to_owned));
    let mut acknowledged: BTreeSet<String> = BTreeSet::new();
    for body in sent {
        acknowledged.insert(body);
        if acknowledged.len() == 500 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(acknowledged.len() >= 500, "the child ended early");
    let queues = queues(directory.path());
    let stored = queues.receive("main", 100_000, Duration::ZERO).await.unwrap();
    let stored: BTreeSet<String> = stored.into_iter().map(|message| message.body).collect();
    assert_eq!(acknowledged.difference(&stored).count(), 0);
}

async fn send_until_killed(directory: &Path) {
    let queues = queues(directory);
    queues.create("main", &[]).await.unwrap();
    for number in 0..100_000 {
        send(&queues, "main", &[&number.to_string()]).await;
        // One write each: a line is either told or not.
        std::io::stdout().write_all(format!("sent {number}\n").as_bytes()).unwrap();
    }
}

// Move tasks.

/// The dead letters of `main`, with a clock that the test moves.
async fn dead_letters(count: usize) -> (TempDir, Queues, Arc<AtomicI64>) {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(1_700_000_000_000));
    let queues = with_clock(directory.path(), &clock);
    queues.create("dead", &[]).await.unwrap();
    let attributes =
        [("VisibilityTimeout", "0".to_owned()), ("RedrivePolicy", redrive(&queues, 1))];
    queues.create("main", &attributes).await.unwrap();
    let bodies: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    send(&queues, "main", &bodies.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for expected in [count, 0] {
        let received = queues.receive("main", count, Duration::ZERO).await.unwrap();
        assert_eq!(received.len(), expected);
    }
    (directory, queues, clock)
}

fn with_clock(directory: &Path, clock: &Arc<AtomicI64>) -> Queues {
    let clock = Arc::clone(clock);
    let time = Arc::new(move || clock.load(Ordering::Relaxed));
    Queues::open_with_clock(&directory.join("queue.db"), BASE, time).unwrap()
}

async fn call(queues: &Queues, action: &str, input: Value) -> Result<Value, String> {
    let target = format!("AmazonSQS.{action}");
    let wire = post(queues, "/", &[("x-amz-target", &target)], &input.to_string()).await;
    let answer = serde_json::from_str(&wire.body).unwrap();
    if wire.status == 200 { Ok(answer) } else { Err(wire.body) }
}

async fn latest_task(queues: &Queues) -> Value {
    let input = json!({"SourceArn": queues.arn("dead")});
    call(queues, "ListMessageMoveTasks", input).await.unwrap()["Results"][0].clone()
}

/// Waits until the latest task is as wished; every look lets 100 ms of the queue's time pass.
async fn task_until(queues: &Queues, clock: &AtomicI64, wished: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + WAIT;
    loop {
        let task = latest_task(queues).await;
        if wished(&task) {
            return task;
        }
        assert!(Instant::now() < deadline, "the task stays {task}");
        clock.fetch_add(100, Ordering::Relaxed);
    }
}

fn has_status(status: &str) -> impl Fn(&Value) -> bool {
    move |task| task["Status"] == status
}

#[tokio::test]
async fn a_move_task_brings_dead_letters_home_as_new_messages() {
    let (_directory, queues, clock) = dead_letters(120).await;
    clock.fetch_add(5_000, Ordering::Relaxed);
    let start = json!({"SourceArn": queues.arn("dead")});
    call(&queues, "StartMessageMoveTask", start).await.unwrap();
    let task = task_until(&queues, &clock, has_status("COMPLETED")).await;
    assert_eq!(task["ApproximateNumberOfMessagesMoved"], 120);
    assert_eq!(task["ApproximateNumberOfMessagesToMove"], 120);
    assert!(task["TaskHandle"].is_null());
    assert_eq!(queues.counts("dead").await.unwrap(), Counts::default());
    let home = queues.receive("main", 200, Duration::ZERO).await.unwrap();
    assert_eq!(home.len(), 120);
    assert_eq!(home[0].attributes["ApproximateReceiveCount"], "1");
    let sent_ms: i64 = home[0].attributes["SentTimestamp"].parse().unwrap();
    assert!(sent_ms >= 1_700_000_005_000);
    assert!(!home[0].attributes.contains_key("DeadLetterQueueSourceArn"));
}

#[tokio::test]
async fn a_move_task_keeps_its_rate_runs_alone_and_can_be_cancelled() {
    let (_directory, queues, clock) = dead_letters(50).await;
    let input = json!({
        "SourceArn": queues.arn("dead"),
        "DestinationArn": queues.arn("main"),
        "MaxNumberOfMessagesPerSecond": 10,
    });
    let started = call(&queues, "StartMessageMoveTask", input.clone()).await.unwrap();
    let second = call(&queues, "StartMessageMoveTask", input).await.unwrap_err();
    assert!(second.contains("already a task running"), "{second}");
    let before_ms = clock.load(Ordering::Relaxed);
    let moved = |task: &Value| task["ApproximateNumberOfMessagesMoved"].as_i64().unwrap();
    task_until(&queues, &clock, |task| moved(task) >= 20).await;
    // Ten a second, the first at once: the twentieth is due 1.9 s after the start.
    assert!(clock.load(Ordering::Relaxed) - before_ms >= 1_900);
    let handle = json!({"TaskHandle": started["TaskHandle"]});
    let cancelled = call(&queues, "CancelMessageMoveTask", handle.clone()).await.unwrap();
    let moved = cancelled["ApproximateNumberOfMessagesMoved"].as_u64().unwrap();
    assert_eq!(latest_task(&queues).await["Status"], "CANCELLED");
    assert_eq!(queues.counts("dead").await.unwrap().visible, 50 - moved);
    call(&queues, "CancelMessageMoveTask", handle).await.unwrap_err();
}

#[tokio::test]
async fn a_move_task_goes_on_after_a_restart() {
    let (directory, queues, clock) = dead_letters(20).await;
    let input = json!({"SourceArn": queues.arn("dead"), "MaxNumberOfMessagesPerSecond": 10});
    call(&queues, "StartMessageMoveTask", input).await.unwrap();
    drop(queues);
    let queues = with_clock(directory.path(), &clock);
    let task = task_until(&queues, &clock, has_status("COMPLETED")).await;
    assert_eq!(task["ApproximateNumberOfMessagesMoved"], 20);
    assert_eq!(queues.counts("main").await.unwrap().visible, 20);
}

#[tokio::test]
async fn a_move_task_without_destination_fails_at_a_message_without_source() {
    let (_directory, queues, clock) = dead_letters(3).await;
    send(&queues, "dead", &["sent here directly"]).await;
    let input = json!({"SourceArn": queues.arn("dead")});
    call(&queues, "StartMessageMoveTask", input).await.unwrap();
    let task = task_until(&queues, &clock, has_status("FAILED")).await;
    assert_eq!(task["FailureReason"], "CouldNotDetermineMessageSource");
    assert_eq!(
        queues.counts("dead").await.unwrap().visible,
        4 - queues.counts("main").await.unwrap().visible
    );
    let input = json!({"SourceArn": queues.arn("dead"), "DestinationArn": queues.arn("main")});
    call(&queues, "StartMessageMoveTask", input).await.unwrap();
    task_until(&queues, &clock, has_status("COMPLETED")).await;
    assert_eq!(queues.counts("main").await.unwrap().visible, 4);
}
