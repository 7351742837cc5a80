//! The pipeline's HTTP servers: all on loopback, stopped together.

use std::io::ErrorKind;
use std::net::Ipv4Addr;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Some running servers; by default none.
#[derive(Default)]
pub struct Servers {
    stop: watch::Sender<bool>,
    running: Vec<JoinHandle<std::io::Result<()>>>,
}

impl Servers {
    /// Serves `router` until all are stopped.
    pub fn serve(&mut self, listener: TcpListener, router: Router) {
        let mut stop = self.stop.subscribe();
        self.running.push(tokio::spawn(async move {
            gateway::serve(listener, router, async move {
                // An error means that the pipeline was dropped, which is a stop, too.
                let _ = stop.wait_for(|stop| *stop).await;
            })
            .await
        }));
    }

    /// Takes no more requests, and waits for those under way within a bound.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for server in self.running {
            match server.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a server broke"),
                Err(error) => tracing::error!(%error, "a server broke"),
            }
        }
    }
}

/// Listens on a port of loopback, 0 for any free one; `flag` chooses it.
pub async fn listen(port: u16, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| port_error(&error, port, flag))
}

/// Says of a port that cannot be listened on which flag chooses another one.
pub fn port_error(error: &std::io::Error, port: u16, flag: &str) -> anyhow::Error {
    match error.kind() {
        ErrorKind::AddrInUse => {
            anyhow::anyhow!(
                "port {port} is taken: choose another one with {flag} (0: any free one)"
            )
        }
        _ => anyhow::anyhow!("cannot listen on port {port} ({flag}): {error}"),
    }
}

/// The base address of a server with this listener.
pub fn address_of(listener: &TcpListener) -> anyhow::Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}
