//! The server under clients that mean no good.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::*;
use crate::server;

/// Sends `bytes` and reads until the server closes the connection.
async fn exchange(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    // The server may hang up before it has read everything.
    stream.write_all(bytes).await.ok();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer));
    read.await.expect("the server hangs up").ok();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn slow_huge_and_malformed_requests_leave_the_server_unharmed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let stack = Stack::new();
    let (stop, stopped) = oneshot::channel::<()>();
    let router = stack.router.clone();
    let server = tokio::spawn(async move {
        let stopped = async { stopped.await.unwrap_or_default() };
        server::serve_with(listener, router, stopped, Duration::from_millis(500)).await
    });
    let token = token(SCOPES);
    let start = format!("PUT /submit HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n");
    let body = payment().to_string();
    let good = format!("{start}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let huge = format!("{start}Content-Length: 11534336\r\n\r\n{}", "x".repeat(100_000));
    let chunked =
        format!("{start}Transfer-Encoding: chunked\r\n\r\nFFFFF\r\n{}", "x".repeat(0xfffff));
    let cases = [
        ("good", good.clone(), "HTTP/1.1 200"),
        ("a head that never ends", start.clone(), ""),
        ("nothing", String::new(), ""),
        ("10,000 headers", format!("{start}{}\r\n", "X-Y: z\r\n".repeat(10_000)), "HTTP/1.1 431"),
        ("a huge header", format!("{start}X: {}\r\n\r\n", "x".repeat(1_000_000)), "HTTP/1.1 431"),
        ("a huge body", huge, "HTTP/1.1 413"),
        ("a huge chunked body", chunked, "HTTP/1.1 413"),
        ("not HTTP", "\u{16}\u{3}\u{1}\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        (
            "two lengths",
            format!("{start}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
            "HTTP/1.1 400",
        ),
        ("a folded header", format!("{start}X: y\r\n z\r\n\r\n"), "HTTP/1.1 400"),
        ("good again", good, "HTTP/1.1 200"),
    ];
    for (name, bytes, expected) in cases {
        let answer = exchange(address, bytes.as_bytes()).await;
        // A refusal can be lost when the client is still sending; being served can not.
        let lost = answer.is_empty() && !expected.ends_with("200");
        assert!(lost || answer.starts_with(expected), "{name}: {answer}");
    }
    assert_eq!(stack.take_sent().len(), 2);
    stop.send(()).expect("the server is running");
    server.await.expect("no panic").expect("no error");
}
