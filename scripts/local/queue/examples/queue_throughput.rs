//! How fast is the queue, and does depth matter? Prints messages per second for sending,
//! receiving, deleting and the others, in this process and over HTTP, how soon a waiter wakes, and
//! the most memory that this process has had so far. All messages are of one group, which is soon a
//! noisy one: the longest way through a fair queue; `--without-group` takes the shorter one.
//!
//! `cargo run --release --package queue --example queue_throughput [depth ...]`, for example
//! `… queue_throughput 0 1000000 0 1000000`

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};
use queue::{Message, Queues, Received};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Messages per measurement.
const MESSAGES: usize = 20_000;
/// Callers at once.
const CALLERS: usize = 32;
/// Looks at the counts of the queue.
const COUNTS: usize = 640;
/// Measured wakes of a waiter.
const WAKES: usize = 200;
/// Bytes of a body: about a payment.
const BODY_BYTES: usize = 400;
/// The flag for messages without a group.
const WITHOUT_GROUP: &str = "--without-group";
/// The group of all messages.
const GROUP: &str = "5f2c8d34-1b7e-4e0a-8c55-90d1e2f3a4b5";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let depths = std::env::args().skip(1).filter(|argument| argument != WITHOUT_GROUP);
    let depths: Vec<usize> = depths.map(|depth| depth.parse()).collect::<Result<_, _>>()?;
    for depth in if depths.is_empty() { vec![0, 100_000] } else { depths } {
        let directory = tempfile::tempdir()?;
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.local_addr()?;
        let queues = Queues::open(&directory.path().join("queue.db"), "http://localhost")?;
        let server = tokio::spawn(axum::serve(listener, queues.router()).into_future());
        queues.create("main", &[("VisibilityTimeout", "43200".into())]).await?;
        println!("depth {depth}");
        wakes(&queues).await?;
        for chunk in vec![(); depth].chunks(10_000) {
            queues
                .send("main", chunk.iter().map(|()| message()).collect::<Result<_, _>>()?)
                .await?;
        }
        in_process(&queues).await?;
        over_http(&queues, address).await?;
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        status
            .lines()
            .filter(|line| line.starts_with("VmHWM"))
            .for_each(|line| println!("  {line}"));
        server.abort();
    }
    Ok(())
}

fn message() -> anyhow::Result<Message> {
    let message = Message::new("x".repeat(BODY_BYTES), BTreeMap::new())?;
    Ok(if has_group() { message.in_group(GROUP)? } else { message })
}

fn has_group() -> bool {
    !std::env::args().any(|argument| argument == WITHOUT_GROUP)
}

fn report(what: &str, count: usize, started: Instant) {
    let per_s = count as u128 * 1_000_000 / started.elapsed().as_micros().max(1);
    println!("  {what:<40} {per_s:>8}/s");
}

/// From the send to the waiter's return.
async fn wakes(queues: &Queues) -> anyhow::Result<()> {
    let mut latencies = Vec::new();
    for _ in 0..WAKES {
        let waiter = queues.clone();
        let waiting = tokio::spawn(async move {
            let received = waiter.receive("main", 1, Duration::from_secs(20)).await;
            (received, Instant::now())
        });
        // Long enough for the waiter to find the queue empty and wait.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let started = Instant::now();
        queues.send("main", vec![message()?]).await?;
        let (received, ended) = waiting.await?;
        latencies.push(ended - started);
        queues.delete("main", handles(received?)).await?;
    }
    latencies.sort_unstable();
    let (median, high) = (latencies[WAKES / 2], latencies[WAKES * 99 / 100]);
    println!("  send to wake: median {median:?}, 99 of 100 within {high:?}");
    Ok(())
}

fn handles(received: Vec<Received>) -> Vec<String> {
    received.into_iter().map(|message| message.receipt_handle).collect()
}

async fn in_process(queues: &Queues) -> anyhow::Result<()> {
    let each = MESSAGES / CALLERS;
    let started = Instant::now();
    try_join_all((0..CALLERS).map(async |_| {
        for _ in 0..each {
            queues.send("main", vec![message()?]).await?;
        }
        anyhow::Ok(())
    }))
    .await?;
    report("in process, one at a time: send", MESSAGES, started);

    let started = Instant::now();
    let received = try_join_all((0..CALLERS).map(async |_| {
        let mut received = Vec::new();
        for _ in 0..each {
            received.extend(queues.receive("main", 1, Duration::ZERO).await?);
        }
        anyhow::Ok(received)
    }))
    .await?;
    report("in process, one at a time: receive", MESSAGES, started);

    let started = Instant::now();
    try_join_all(received.into_iter().map(async |received| {
        for handle in handles(received) {
            queues.delete("main", vec![handle]).await?;
        }
        anyhow::Ok(())
    }))
    .await?;
    report("in process, one at a time: delete", MESSAGES, started);

    let started = Instant::now();
    for _ in 0..MESSAGES / 10 {
        let messages = (0..10).map(|_| message()).collect::<Result<_, _>>()?;
        queues.send("main", messages).await?;
        let received = queues.receive("main", 10, Duration::ZERO).await?;
        queues.delete("main", handles(received)).await?;
    }
    report("in process, tens in turn: all three", MESSAGES, started);
    Ok(())
}

/// Every caller has a connection of its own and one request under way.
async fn over_http(queues: &Queues, address: SocketAddr) -> anyhow::Result<()> {
    let each = MESSAGES / CALLERS;
    let mut connections = Vec::new();
    for _ in 0..CALLERS {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        connections.push(BufReader::new(stream));
    }
    let body = "x".repeat(BODY_BYTES);
    let group = if has_group() { format!("&MessageGroupId={GROUP}") } else { String::new() };
    let form = format!("Action=SendMessage&MessageBody={body}{group}");
    let send = request("Accept: application/json", &form);
    let url = queues.url("main");
    let receive = request(
        "X-Amz-Target: AmazonSQS.ReceiveMessage",
        &format!(r#"{{"QueueUrl":"{url}","WaitTimeSeconds":0}}"#),
    );

    let started = Instant::now();
    for result in
        join_all(connections.iter_mut().map(|connection| repeat(connection, &send, each))).await
    {
        result?;
    }
    report("HTTP, one at a time: send (query)", MESSAGES, started);

    let started = Instant::now();
    let answers =
        join_all(connections.iter_mut().map(|connection| repeat(connection, &receive, each))).await;
    report("HTTP, one at a time: receive (JSON)", MESSAGES, started);

    let mut handles = Vec::new();
    for answers in answers {
        let handle = |answer: &Vec<u8>| {
            let answer: serde_json::Value = serde_json::from_slice(answer)?;
            anyhow::Ok(answer["Messages"][0]["ReceiptHandle"].to_string())
        };
        handles.push(answers?.iter().map(handle).collect::<Result<Vec<_>, _>>()?);
    }
    for (operation, parameters) in
        [("ChangeMessageVisibility", r#","VisibilityTimeout":600"#), ("DeleteMessage", "")]
    {
        let started = Instant::now();
        let target = format!("X-Amz-Target: AmazonSQS.{operation}");
        try_join_all(connections.iter_mut().zip(&handles).map(async |(connection, handles)| {
            for handle in handles {
                let body =
                    format!(r#"{{"QueueUrl":"{url}","ReceiptHandle":{handle}{parameters}}}"#);
                call(connection, &request(&target, &body)).await?;
            }
            anyhow::Ok(())
        }))
        .await?;
        report(&format!("HTTP, one at a time: {operation}"), MESSAGES, started);
    }

    let counts = request(
        "X-Amz-Target: AmazonSQS.GetQueueAttributes",
        &format!(r#"{{"QueueUrl":"{url}","AttributeNames":["All"]}}"#),
    );
    let started = Instant::now();
    let counted = connections.iter_mut().map(|one| repeat(one, &counts, COUNTS / CALLERS));
    try_join_all(counted).await?;
    report("HTTP, one at a time: counts", COUNTS, started);
    Ok(())
}

fn request(header: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /000000000000/main HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

async fn repeat(
    connection: &mut BufReader<TcpStream>,
    request: &str,
    times: usize,
) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut answers = Vec::with_capacity(times);
    for _ in 0..times {
        answers.push(call(connection, request).await?);
    }
    Ok(answers)
}

async fn call(connection: &mut BufReader<TcpStream>, request: &str) -> anyhow::Result<Vec<u8>> {
    connection.write_all(request.as_bytes()).await?;
    let mut status = String::new();
    connection.read_line(&mut status).await?;
    anyhow::ensure!(status.contains(" 200 "), "{status}");
    let mut length = 0;
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).await?;
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse()?;
        }
    }
    let mut answer = vec![0; length];
    connection.read_exact(&mut answer).await?;
    Ok(answer)
}
