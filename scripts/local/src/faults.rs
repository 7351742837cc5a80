//! Faults between the functions and what they call: `--faults`. With them anyone can see that no payment
//! is lost.
//!
//! - [`Rates`]: how often each fault happens, as the command line says it.
//! - [`Faults`]: whether a fault happens now. Its choices follow from a seed.
//! - [`Unreliable`]: a queue that delivers some messages late and some twice.
//! - [`proxy`]: stands between a function and the tables and queues; refuses some calls and loses some
//!   replies.
//!
//! The processes of a function are killed by whoever runs them, see [`runtime::FunctionSettings`]. A function
//! knows nothing of all this, and without `--faults` nothing here runs.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response, StatusCode, Uri};
use clap::ValueEnum;
use futures::stream;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::Instant;

use queue::Received;
use runtime::event_source::MessageSource;

/// The longest time by which a delivery is late.
const DELAY_MAX: Duration = Duration::from_secs(1);

/// The longest time after which a process is killed; a batch takes about as long.
const CRASH_AFTER_MAX: Duration = Duration::from_millis(5);

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Fault {
    /// A message is delivered twice, the second time while it may still be in progress.
    Duplicate,
    /// A message is delivered up to a second late, after younger ones.
    Delay,
    /// The tables refuse a call as if their throughput were used up.
    Throttle,
    /// A call of a function takes effect, and its reply is lost.
    LostReply,
    /// A function's process is killed (kill -9) in the middle of a batch.
    Crash,
    /// A message cannot be sent to the dead-letter queue.
    Dlq,
    /// An old receipt handle is treated as [`queue::Queues::with_old_handles`] says.
    OldHandle,
}

/// How often each fault happens, from 0 to 1: `duplicate=0.1,lost-reply=0.05`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates(BTreeMap<Fault, f64>);

/// A text that is not a list of rates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not one of {names} with a rate from 0 to 1, as in duplicate=0.1", names = names())]
pub struct BadRates(String);

fn names() -> String {
    let names = Fault::value_variants().iter().filter_map(Fault::to_possible_value);
    names.map(|name| name.get_name().to_owned()).collect::<Vec<_>>().join(", ")
}

impl FromStr for Rates {
    type Err = BadRates;

    fn from_str(text: &str) -> Result<Self, BadRates> {
        let rate = |part: &str| {
            let (name, rate) = part.split_once('=')?;
            let rate = rate.parse().ok().filter(|rate| (0.0..=1.0).contains(rate))?;
            Some((Fault::from_str(name, false).ok()?, rate))
        };
        let read = |part: &str| rate(part).ok_or_else(|| BadRates(part.to_owned()));
        text.split(',').map(read).collect::<Result<_, _>>().map(Self)
    }
}

/// Decides what goes wrong. The same seed makes the same choices in the same order.
#[derive(Debug)]
pub struct Faults {
    rates: Rates,
    choices: Mutex<fastrand::Rng>,
}

impl Faults {
    /// Faults at these rates.
    #[must_use]
    pub fn new(rates: Rates, seed: u64) -> Self {
        Self { rates, choices: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }

    /// When the process that is given a batch now is to be killed, if at all.
    #[must_use]
    pub fn crash_after(&self) -> Option<Duration> {
        self.happens(Fault::Crash).then(|| self.up_to(CRASH_AFTER_MAX))
    }

    /// Whether a fault of kind `old-handle` happens now.
    #[must_use]
    pub fn treats_old_handle_otherwise(&self) -> bool {
        self.happens(Fault::OldHandle)
    }

    fn happens(&self, fault: Fault) -> bool {
        self.rates.0.get(&fault).is_some_and(|rate| lock(&self.choices).f64() < *rate)
    }

    fn up_to(&self, longest: Duration) -> Duration {
        let longest_us = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(lock(&self.choices).u64(0..=longest_us))
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A queue that delivers some messages late and some twice. A message that is kept back here is in flight
/// in the queue, so it comes back by itself when this process is killed.
#[derive(Clone)]
pub struct Unreliable<S> {
    source: S,
    faults: Arc<Faults>,
    late: Arc<Mutex<Vec<(Instant, Received)>>>,
}

impl<S> Unreliable<S> {
    /// The queue of `source`, with these faults.
    pub fn new(source: S, faults: Arc<Faults>) -> Self {
        Self { source, faults, late: Arc::default() }
    }

    fn due(&self, max: usize) -> Vec<Received> {
        let now = Instant::now();
        let is_due = |(due, _): &mut (Instant, Received)| *due <= now;
        lock(&self.late).extract_if(.., is_due).take(max).map(|(_, message)| message).collect()
    }

    /// Whether a message is delivered now; puts it aside when it is (also) delivered later.
    fn is_delivered(&self, message: &Received) -> bool {
        let late = self.faults.happens(Fault::Delay);
        let again = if late { self.faults.up_to(DELAY_MAX) } else { Duration::ZERO };
        if late || self.faults.happens(Fault::Duplicate) {
            lock(&self.late).push((Instant::now() + again, message.clone()));
        }
        !late
    }
}

impl<S: MessageSource> MessageSource for Unreliable<S> {
    type Error = S::Error;

    fn arn(&self, queue: &str) -> String {
        self.source.arn(queue)
    }

    async fn receive(
        &self,
        queue: &str,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Received>, S::Error> {
        let due = self.due(max);
        if !due.is_empty() {
            return Ok(due);
        }
        let next = lock(&self.late).iter().map(|(due, _)| *due).min();
        let wait =
            next.map_or(wait, |next| wait.min(next.saturating_duration_since(Instant::now())));
        let mut messages = self.source.receive(queue, max, wait).await?;
        messages.retain(|message| self.is_delivered(message));
        Ok(messages)
    }

    async fn delete(&self, queue: &str, receipt_handles: Vec<String>) -> Result<(), S::Error> {
        self.source.delete(queue, receipt_handles).await
    }
}

/// One address in front of the tables and the queues, for the functions' calls and nobody else's. The
/// header `x-amz-target` of a call says which of them it is for.
///
/// # Errors
/// `table` or `queue` is not a URL.
pub fn proxy(faults: Arc<Faults>, table: &str, queue: &str) -> anyhow::Result<Router> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let address = |text: &str| text.parse::<Uri>().context("the address behind the proxy");
    let proxy = Proxy { faults, client, table: address(table)?, queue: address(queue)? };
    Ok(Router::new().fallback(call).with_state(Arc::new(proxy)))
}

struct Proxy {
    faults: Arc<Faults>,
    client: Client<HttpConnector, Body>,
    table: Uri,
    queue: Uri,
}

async fn call(State(proxy): State<Arc<Proxy>>, mut request: Request<Body>) -> Response<Body> {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
    let target = target.unwrap_or_default();
    let of_table = target.starts_with("DynamoDB");
    if of_table && proxy.faults.happens(Fault::Throttle) {
        return refusal(StatusCode::BAD_REQUEST, "ProvisionedThroughputExceededException");
    }
    // A function sends only to a dead-letter queue.
    if target == "AmazonSQS.SendMessage" && proxy.faults.happens(Fault::Dlq) {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
    }
    let mut parts = if of_table { &proxy.table } else { &proxy.queue }.clone().into_parts();
    parts.path_and_query = request.uri().path_and_query().cloned();
    let answer = match Uri::from_parts(parts) {
        Ok(uri) => {
            *request.uri_mut() = uri;
            proxy.client.request(request).await
        }
        Err(_) => return refusal(StatusCode::BAD_REQUEST, "InvalidAddress"),
    };
    match answer {
        Ok(_) if proxy.faults.happens(Fault::LostReply) => lost(),
        Ok(answer) => answer.map(Body::new),
        Err(_) => refusal(StatusCode::BAD_GATEWAY, "ServiceUnavailable"),
    }
}

fn refusal(status: StatusCode, code: &str) -> Response<Body> {
    let body = serde_json::json!({ "__type": code, "message": "a fault that was asked for" });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response
}

/// Ends the connection in place of a reply.
fn lost() -> Response<Body> {
    let broken = Err::<&str, _>(std::io::Error::other("the reply is lost"));
    Response::new(Body::from_stream(stream::iter([broken])))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A queue that holds these messages, and gets no others.
    #[derive(Clone)]
    struct Few(Arc<Mutex<VecDeque<Received>>>);

    impl MessageSource for Few {
        type Error = String;

        fn arn(&self, queue: &str) -> String {
            queue.to_owned()
        }

        async fn receive(&self, _: &str, max: usize, _: Duration) -> Result<Vec<Received>, String> {
            let mut left = lock(&self.0);
            let count = left.len().min(max);
            Ok(left.drain(..count).collect())
        }

        async fn delete(&self, _: &str, _: Vec<String>) -> Result<(), String> {
            Ok(())
        }
    }

    fn message(id: &str) -> Received {
        Received {
            message_id: id.to_owned(),
            receipt_handle: String::new(),
            body: String::new(),
            md5_of_body: String::new(),
            md5_of_message_attributes: None,
            attributes: BTreeMap::new(),
            message_attributes: BTreeMap::new(),
        }
    }

    /// Receives from a queue of the messages a, b and c until there are `count`. Returns how many came with
    /// the first receive, and all ids.
    async fn delivered(rates: &str, count: usize) -> (usize, Vec<String>) {
        let few = Few(Arc::new(Mutex::new(["a", "b", "c"].map(message).into())));
        let source = Unreliable::new(few, Arc::new(Faults::new(rates.parse().unwrap(), 1)));
        let receive = || async { source.receive("q", 3, Duration::ZERO).await.unwrap() };
        let mut messages = receive().await;
        let first = messages.len();
        let started = Instant::now();
        while messages.len() < count && started.elapsed() < 2 * DELAY_MAX {
            messages.extend(receive().await);
            tokio::task::yield_now().await;
        }
        let mut ids: Vec<String> = messages.into_iter().map(|message| message.message_id).collect();
        ids.sort();
        (first, ids)
    }

    #[tokio::test]
    async fn a_message_is_delivered_late_or_twice_and_never_lost() {
        let once = || ["a", "b", "c"].map(str::to_owned).to_vec();
        let twice = ["a", "a", "b", "b", "c", "c"].map(str::to_owned).to_vec();
        assert_eq!(delivered("crash=1", 3).await, (3, once()));
        assert_eq!(delivered("duplicate=1", 6).await, (3, twice));
        assert_eq!(delivered("delay=1", 3).await, (0, once()));
    }

    #[test]
    fn the_same_seed_makes_the_same_choices() {
        let choices = |seed| {
            let faults = Faults::new("throttle=0.5".parse().unwrap(), seed);
            (0..64).map(|_| faults.happens(Fault::Throttle)).collect::<Vec<_>>()
        };
        assert_eq!(choices(7), choices(7));
        assert_ne!(choices(7), choices(8));
    }

    #[test]
    fn a_rate_is_a_known_name_and_a_number_from_0_to_1() {
        for text in ["duplicate=0.1", "lost-reply=1", "dlq=0,crash=0.01,throttle=1e-3"] {
            assert!(text.parse::<Rates>().is_ok(), "{text}");
        }
        for text in ["", "duplicate", "duplicate=", "duplicate=1.1", "dlq=-1", "dlq=NaN", "x=0.1"] {
            let error = text.parse::<Rates>().unwrap_err().to_string();
            assert!(
                error.contains("duplicate, delay, throttle, lost-reply, crash, dlq, old-handle"),
                "{error}"
            );
        }
    }
}
