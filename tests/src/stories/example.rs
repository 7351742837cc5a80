//! The example client: against the pipeline, and against a server that fails in every way.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::trials;
use crate::client::{Client, Failure, Outcome};
use crate::stack::Stack;

pub(crate) fn all() -> Vec<Trial> {
    trials![
        the_example_client_pays_and_learns_what_became_of_it,
        the_example_client_repeats_the_same_bytes_until_it_is_answered,
        the_example_client_stops_at_what_repeating_cannot_mend,
    ]
}

const PAUSE: Duration = Duration::from_millis(1);

async fn the_example_client_pays_and_learns_what_became_of_it() {
    let stack = Stack::start().await;
    let client = Client::new(stack.at("api"), stack.at("token"), PAUSE);
    let payment = stack.payment();
    for _ in 0..2 {
        assert_eq!(client.pay(&payment).await, Ok(Outcome::Stored), "as often as one likes");
    }
    assert_eq!(stack.stored_count().await, 1);
    let mut other = payment.clone();
    other["amount"] = json!("10.51");
    let conflict = Outcome::Refused("conflict".to_owned(), vec!["amount".to_owned()]);
    assert_eq!(client.pay(&other).await, Ok(conflict), "not the stored one's outcome");
    let mut wrong = stack.payment();
    wrong["currency"] = json!("XXX");
    let invalid = Outcome::Refused("invalid".to_owned(), vec!["currency".to_owned()]);
    assert_eq!(client.pay(&wrong).await, Ok(invalid));
    wrong["currency"] = json!("gbp");
    let refused = Failure::Wrong(400, "invalid_body".to_owned());
    assert_eq!(client.pay(&wrong).await, Err(refused));
    let client = Client::new(stack.at("api"), "no token", PAUSE);
    assert_eq!(client.pay(&payment).await, Err(Failure::Token));
}

/// A server that gives these answers one after the other, one a connection: a status line with headers and
/// a body, or nothing. The requests that it got, each its first line and its body.
async fn served(
    answers: Vec<(&'static str, Value)>,
) -> (String, tokio::task::JoinHandle<Vec<(String, String)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let mut requests = Vec::new();
        for (head, body) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            requests.push(received(&mut stream).await);
            if !head.is_empty() {
                let body = body.to_string();
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
        requests
    });
    (api, serving)
}

/// The requests that a server got, as soon as it has given all its answers.
async fn ended(serving: tokio::task::JoinHandle<Vec<(String, String)>>) -> Vec<(String, String)> {
    let ended = tokio::time::timeout(Duration::from_secs(60), serving).await;
    ended.expect("every answer was asked for").unwrap()
}

async fn received(stream: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return (head.lines().next().unwrap().to_owned(), body.to_owned());
            }
        }
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "a whole request");
    }
}

fn payment() -> Value {
    json!({ "paymentId": "7d4df5ae-3f6b-4c27-9d0e-5b6c1c1f0a41", "amount": "10.50" })
}

async fn the_example_client_repeats_the_same_bytes_until_it_is_answered() {
    let accepted = json!({ "status": "accepted", "requestId": "r", "bodyMd5": "ours" });
    let unknown = json!({ "status": "of a newer version", "requestId": "r" });
    let stored = json!({ "status": "stored", "requestId": "r" });
    let error = |code: &str| json!({ "code": code, "message": "", "requestId": "" });
    let ok = "200 OK";
    let (api, serving) = served(vec![
        ("", Value::Null),
        ("503 Service Unavailable\r\nretry-after: 0", error("unavailable")),
        ("504 Gateway Timeout", error("timeout")),
        ("500 Internal Server Error", Value::Null),
        ("429 Too Many Requests\r\nretry-after: 1", error("too_many_requests")),
        (ok, accepted.clone()),
        ("404 Not Found\r\nretry-after: 21", error("not_found")),
        (ok, accepted.clone()),
        ("502 Bad Gateway", error("internal_error")),
        (ok, unknown),
        (ok, accepted),
        (ok, stored),
    ])
    .await;
    let started = std::time::Instant::now();
    assert_eq!(Client::new(&api, "t", PAUSE).pay(&payment()).await, Ok(Outcome::Stored));
    assert!(started.elapsed() >= Duration::from_secs(1), "it waits as long as it is told");
    let requests = ended(serving).await;
    let id = "7d4df5ae-3f6b-4c27-9d0e-5b6c1c1f0a41";
    for (line, body) in &requests {
        if line.starts_with("PUT") {
            assert_eq!((line.as_str(), body), ("PUT /submit HTTP/1.1", &payment().to_string()));
        } else {
            assert_eq!(*line, format!("GET /payments/{id}?requestId=r&wait=25 HTTP/1.1"));
        }
    }
    let puts = requests.iter().filter(|(line, _)| line.starts_with("PUT")).count();
    assert_eq!((requests.len(), puts), (12, 8));
}

async fn the_example_client_stops_at_what_repeating_cannot_mend() {
    for (head, code, expected) in [
        ("400 Bad Request", "invalid_body", Failure::Wrong(400, "invalid_body".to_owned())),
        ("403 Forbidden", "blocked", Failure::Wrong(403, "blocked".to_owned())),
        ("413 Payload Too Large", "", Failure::Wrong(413, String::new())),
        ("415 Unsupported", "", Failure::Wrong(415, String::new())),
        ("401 Unauthorized", "unauthorized", Failure::Token),
    ] {
        let (api, serving) = served(vec![(head, json!({ "code": code }))]).await;
        assert_eq!(Client::new(&api, "t", PAUSE).pay(&payment()).await, Err(expected));
        assert_eq!(ended(serving).await.len(), 1, "{head}");
    }
    let (api, serving) = served(vec![("500 Internal Server Error", Value::Null); 8]).await;
    assert_eq!(Client::new(&api, "t", PAUSE).pay(&payment()).await, Err(Failure::GaveUp));
    assert_eq!(ended(serving).await.len(), 8, "it gives up");
}
