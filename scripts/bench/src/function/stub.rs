//! What a function sees of AWS: a Runtime API, and a table behind TLS that takes every put after a given
//! time. One stub serves one process of a function.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// The longest time for one step of a function: a batch of thousands, one put after another.
const PATIENCE: Duration = Duration::from_secs(120);

/// Time that an invocation has, by the Runtime API's word: more than any takes here.
const INVOCATION_MAX: Duration = Duration::from_secs(15 * 60);

/// A certificate for 127.0.0.1 and the authority that signed it, made anew for each run.
pub(crate) struct Tls {
    /// The authority's certificate, to be trusted, in PEM.
    pub(crate) authority: String,
    acceptor: TlsAcceptor,
}

impl Tls {
    pub(crate) fn new() -> anyhow::Result<Tls> {
        let mut authority = CertificateParams::new(Vec::new())?;
        // A name of its own: with the same one the certificate would seem to have signed itself.
        authority.distinguished_name.push(DnType::CommonName, "authority of the bench");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let names = vec!["127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        Ok(Tls { authority: authority.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

/// A Runtime API and a table.
pub(crate) struct Stub {
    pub(crate) runtime_api: SocketAddr,
    pub(crate) table: SocketAddr,
    shared: Arc<Shared>,
    events: mpsc::UnboundedSender<Bytes>,
    polls: mpsc::UnboundedReceiver<Instant>,
    answers: mpsc::UnboundedReceiver<anyhow::Result<Answer>>,
    // Ends the servers when the stub is dropped.
    _servers: JoinSet<()>,
}

struct Shared {
    latency: Duration,
    puts: AtomicUsize,
    handed_at: Mutex<Instant>,
    events: Mutex<mpsc::UnboundedReceiver<Bytes>>,
    polls: mpsc::UnboundedSender<Instant>,
    answers: mpsc::UnboundedSender<anyhow::Result<Answer>>,
}

struct Answer {
    took: Duration,
    response: Bytes,
}

/// The partial-batch response.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchResponse {
    batch_item_failures: Vec<serde_json::Value>,
}

impl Stub {
    /// Listens on free ports; every put takes `latency`.
    pub(crate) async fn start(tls: &Tls, latency: Duration) -> anyhow::Result<Stub> {
        let (events, handed) = mpsc::unbounded_channel();
        let (polled, polls) = mpsc::unbounded_channel();
        let (answered, answers) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            latency,
            puts: AtomicUsize::new(0),
            handed_at: Mutex::new(Instant::now()),
            events: Mutex::new(handed),
            polls: polled,
            answers: answered,
        });
        let (runtime_api, table) =
            (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        let (runtime_api_at, table_at) = (runtime_api.local_addr()?, table.local_addr()?);
        let mut servers = JoinSet::new();
        servers.spawn(serve_runtime_api(runtime_api, Arc::clone(&shared)));
        servers.spawn(serve_table(table, tls.acceptor.clone(), Arc::clone(&shared)));
        Ok(Stub {
            runtime_api: runtime_api_at,
            table: table_at,
            shared,
            events,
            polls,
            answers,
            _servers: servers,
        })
    }

    /// Waits until the function asks for its next event.
    pub(crate) async fn polled(&mut self) -> anyhow::Result<Instant> {
        let polled = tokio::time::timeout(PATIENCE, self.polls.recv()).await;
        polled.context("the function never asked for an event")?.context("the stub has ended")
    }

    /// Hands an event to the function; the time until its response was here. Every one of its `records`
    /// must have been put once and none reported as failed.
    pub(crate) async fn invoke(
        &mut self,
        event: Bytes,
        records: usize,
    ) -> anyhow::Result<Duration> {
        let puts = self.shared.puts.load(Ordering::Relaxed);
        self.events.send(event)?;
        let answer = tokio::time::timeout(PATIENCE, self.answers.recv()).await;
        let answer =
            answer.context("the function gave no answer")?.context("the stub has ended")??;
        let response: BatchResponse = serde_json::from_slice(&answer.response)?;
        let (failed, put) =
            (response.batch_item_failures.len(), self.shared.puts.load(Ordering::Relaxed) - puts);
        ensure!(failed == 0 && put == records, "{records} records: {put} put, {failed} failed");
        Ok(answer.took)
    }
}

async fn serve_runtime_api(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let _ = stream.set_nodelay(true);
            let answer = |request| runtime_api(Arc::clone(&shared), request);
            serve(stream, answer).await;
        });
    }
}

async fn serve_table(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            let _ = stream.set_nodelay(true);
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream, |request| table(Arc::clone(&shared), request)).await;
            }
        });
    }
}

/// A client may end its connection in any way.
async fn serve<A>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: impl Fn(Request<Incoming>) -> A,
) where
    A: Future<Output = Response<Full<Bytes>>>,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn runtime_api(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return status(StatusCode::BAD_REQUEST) };
    let path = head.uri.path();
    if head.method == Method::GET {
        return next(&shared).await;
    }
    let answer = match path.rsplit('/').next() {
        Some("response") => {
            Ok(Answer { took: shared.handed_at.lock().await.elapsed(), response: body.to_bytes() })
        }
        _ => Err(anyhow::anyhow!("the function reports an error: {path}")),
    };
    let _ = shared.answers.send(answer);
    status(StatusCode::ACCEPTED)
}

async fn next(shared: &Shared) -> Response<Full<Bytes>> {
    let _ = shared.polls.send(Instant::now());
    let Some(event) = shared.events.lock().await.recv().await else {
        return status(StatusCode::GONE);
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let deadline_ms = (now + INVOCATION_MAX).as_millis().to_string();
    let mut response = Response::new(Full::new(event));
    let headers = response.headers_mut();
    for (name, value) in [
        ("content-type", "application/json"),
        ("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd"),
        ("lambda-runtime-deadline-ms", &deadline_ms),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-west-2:000000000000:function:submit-payments",
        ),
        ("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700"),
    ] {
        headers.insert(name, HeaderValue::from_str(value).expect("the values are plain text"));
    }
    *shared.handed_at.lock().await = Instant::now();
    response
}

async fn table(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let is_put = request
        .headers()
        .get("x-amz-target")
        .is_some_and(|target| target.as_bytes() == b"DynamoDB_20120810.PutItem");
    if request.into_body().collect().await.is_err() {
        return status(StatusCode::BAD_REQUEST);
    }
    if is_put {
        if !shared.latency.is_zero() {
            tokio::time::sleep(shared.latency).await;
        }
        shared.puts.fetch_add(1, Ordering::Relaxed);
    }
    let mut response = Response::new(Full::new(Bytes::from_static(b"{}")));
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/x-amz-json-1.0"));
    headers.insert(
        "x-amzn-requestid",
        HeaderValue::from_static("C7T5E8JUVPQLH2T8I1N4ECN1HBVV4KQNSO5AEMVJF66Q9ASUAAJG"),
    );
    response
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
