//! HTTP/1 with bounds: on how long a request's head may take, how large it may be, how many
//! connections there are, and how long the last ones may take at the end.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// More than the gateway's own limit on headers, so that a little too much gets the uniform error.
const HEAD_BYTES_MAX: usize = 32 * 1024;
const CONNECTIONS_MAX: usize = 1_024;
/// How long running requests may take to finish when the server stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait after a connection could not be accepted: file descriptors come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` until `shutdown`, then lets the running requests finish.
///
/// # Errors
/// None while it runs: a connection that cannot be accepted is passed over.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    serve_with(listener, router, shutdown, HEAD_TIMEOUT).await
}

/// `head_timeout` is how long a connection may take to send the head of a request, or stay idle
/// between two.
pub(crate) async fn serve_with(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
    head_timeout: Duration,
) -> io::Result<()> {
    let connections = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, _)| (stream, place))
        };
        let accepted = tokio::select! {
            accepted = accept => accepted,
            () = &mut shutdown => break,
        };
        let Ok((stream, place)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Small answers: waiting to fill a packet only costs time.
        stream.set_nodelay(true).ok();
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            // A client may break its connection at any time.
            connection.await.ok();
            drop(place);
        });
    }
    drop(listener);
    // What has not finished by then is cut off.
    timeout(SHUTDOWN_TIMEOUT, connections.shutdown()).await.ok();
    Ok(())
}
