//! The Lambda Runtime API for one child process.
//!
//! Every process gets a listener of its own, so that it is always known whose invocation died, and
//! a late answer of a killed process can never reach its successor.

mod offers;
mod routes;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use self::offers::{Init, Offer, Shared, epoch_ms};
use crate::invoke_error::{ErrorReport, InvokeError};

/// The Runtime API of one process, served until it is dropped.
#[derive(Debug)]
pub(crate) struct RuntimeApi {
    address: SocketAddr,
    offers: mpsc::Sender<Offer>,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl RuntimeApi {
    /// Serves on a free port of 127.0.0.1 for the function of this ARN.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub(crate) async fn start(function_arn: String) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        // Small answers on a kept-alive connection would otherwise wait for an acknowledgement.
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot disable Nagle's algorithm");
            }
        });
        let (offers, offered) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            function_arn,
            offered: tokio::sync::Mutex::new(offered),
            open: Mutex::new(None),
            init: watch::Sender::new(Init::Pending),
        });
        let routes = routes::router(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%error, "the Runtime API stopped");
            }
        });
        Ok(Self { address, offers, shared, server })
    }

    /// Where it listens: the value of `AWS_LAMBDA_RUNTIME_API`.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the process asks for its first invocation.
    ///
    /// # Errors
    /// What the process reported, when it reported that it cannot start.
    pub(crate) async fn initialised(&self) -> Result<(), ErrorReport> {
        let mut init = self.shared.init.subscribe();
        let decided = init.wait_for(|init| !matches!(init, Init::Pending)).await;
        match decided.as_deref() {
            Ok(Init::Failed(report)) => Err(report.clone()),
            // The sender lives in `self`, so the channel is never closed here.
            Ok(Init::Ready | Init::Pending) | Err(_) => Ok(()),
        }
    }

    /// Gives the process one event and waits for its response. One invocation at a time: the
    /// caller sends the next one after this returned.
    ///
    /// # Errors
    /// [`InvokeError`]; after `TimedOut` the process may still be at work and has to be killed.
    pub(crate) async fn invoke(
        &self,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, InvokeError> {
        let request_id = Uuid::new_v4().to_string();
        let (answer, answered) = oneshot::channel();
        let offer = Offer {
            request_id: request_id.clone(),
            deadline_ms: epoch_ms(SystemTime::now() + timeout),
            payload,
            answer,
        };
        if self.offers.send(offer).await.is_err() {
            return Err(InvokeError::Exited);
        }
        tokio::select! {
            biased;
            answer = answered => answer.unwrap_or(Err(InvokeError::Exited)),
            report = self.init_failed() => Err(InvokeError::InitFailed(report)),
            () = tokio::time::sleep(timeout) => {
                drop(self.shared.take_open(&request_id));
                Err(InvokeError::TimedOut { after: timeout })
            }
        }
    }

    /// Resolves only when the process reports that it cannot start.
    async fn init_failed(&self) -> ErrorReport {
        match self.initialised().await {
            Ok(()) => std::future::pending().await,
            Err(report) => report,
        }
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[cfg(test)]
mod tests;
