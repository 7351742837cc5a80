//! An example client: the rules of `schema/README.md` as code, to be copied.
//!
//! It submits a payment and says what became of it. It repeats what may help, always the same bytes with
//! the same paymentId, pauses longer each time, and stops at what repeating cannot mend.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;

/// Tries of one request, and questions for one outcome.
const ATTEMPTS_MAX: u32 = 8;

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(20);

/// How long an answer may take: longer than the longest wait, and than the gateway's own limit.
const TIMEOUT: Duration = Duration::from_secs(35);

/// A client of the API. Keep one: it keeps connections open.
pub(crate) struct Client {
    /// Base address of the API.
    pub(crate) api: String,
    /// An access token with the scopes payments/submit and payments/read.
    pub(crate) token: String,
    /// The first pause; each further one is up to twice as long. 200 ms is a good one.
    pub(crate) pause: Duration,
    http: reqwest::Client,
}

/// What became of a payment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is stored, once and for good.
    Stored,
    /// It will never be stored: correct what is wrong. The reason, and the properties at fault.
    Refused(String, Vec<String>),
    /// An operator looks after it. Do not submit it again; ask again tomorrow.
    Held,
    /// An operator threw it away, or it expired. Submit it again if it is still to be paid.
    Discarded,
}

/// Why there is no outcome.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request is wrong, and repeating it is useless. The status and the error's code.
    Wrong(u16, String),
    /// The token is not accepted: fetch a new one and begin again, with the same paymentId.
    Token,
    /// No answer helped within all tries. The payment may be accepted all the same: begin again later, with
    /// the same paymentId and the same content.
    GaveUp,
}

impl Client {
    pub(crate) fn new(api: &str, token: &str, pause: Duration) -> Client {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().unwrap();
        Client { api: api.to_owned(), token: token.to_owned(), pause, http }
    }

    /// Submits a payment and waits for its outcome. Call it again with the same payment as often as you
    /// like, also after a crash: it is stored once.
    pub(crate) async fn pay(&self, payment: &Value) -> Result<Outcome, Failure> {
        // Written once: a repetition sends these very bytes, so its bodyMd5 is the same.
        let body = payment.to_string();
        let path = format!("/payments/{}", payment["paymentId"].as_str().unwrap());
        for attempt in 0..ATTEMPTS_MAX {
            let accepted = self.send(Method::PUT, "/submit", &body, &[]).await?;
            let request_id = accepted["requestId"].as_str().unwrap_or_default();
            let query = [("requestId", request_id), ("wait", "25")];
            match self.send(Method::GET, &path, "", &query).await {
                Ok(answer) => {
                    if let Some(outcome) = outcome_of(&answer) {
                        return Ok(outcome);
                    }
                }
                // Nothing is known yet. Should our PUT be lost, which it never was, repeating it mends that;
                // if not, it changes nothing.
                Err(Failure::Wrong(404, _)) => {}
                Err(failure) => return Err(failure),
            }
            self.pause(attempt, Duration::ZERO).await;
        }
        Err(Failure::GaveUp)
    }

    /// Sends a request until it is answered with something that repeating it would not change.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: &str,
        query: &[(&str, &str)],
    ) -> Result<Value, Failure> {
        for attempt in 0..ATTEMPTS_MAX {
            let request = self.http.request(method.clone(), format!("{}{path}", self.api));
            let request = request.query(query);
            let request = request.header("authorization", format!("Bearer {}", self.token));
            let request = request.header("content-type", "application/json");
            let mut at_least = Duration::ZERO;
            // Without an answer, after a timeout say, the request may have been served all the same.
            if let Ok(answer) = request.body(body.to_owned()).send().await {
                let status = answer.status();
                let retry_after = answer.headers().get("retry-after").cloned();
                let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
                at_least = Duration::from_secs(retry_after.unwrap_or_default());
                let answer = answer.bytes().await.unwrap_or_default();
                let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
                match status {
                    StatusCode::OK => return Ok(answer),
                    StatusCode::UNAUTHORIZED => return Err(Failure::Token),
                    StatusCode::TOO_MANY_REQUESTS => {}
                    wrong if wrong.is_client_error() => {
                        let code = answer["code"].as_str().unwrap_or_default().to_owned();
                        return Err(Failure::Wrong(wrong.as_u16(), code));
                    }
                    _ => {}
                }
            }
            self.pause(attempt, at_least).await;
        }
        Err(Failure::GaveUp)
    }

    /// Up to twice as long each time, by chance, so that clients that failed together do not return
    /// together; never less than the server asks for.
    async fn pause(&self, attempt: u32, at_least: Duration) {
        let longest = self.pause.saturating_mul(2_u32.saturating_pow(attempt)).min(PAUSE_MAX);
        let longest_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        let pause = Duration::from_millis(fastrand::u64(0..=longest_ms));
        tokio::time::sleep(pause.max(at_least)).await;
    }
}

/// What became of the submission that was asked for; `None` for a status of a newer API.
fn outcome_of(answer: &Value) -> Option<Outcome> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let fields = answer["fields"].as_array().into_iter().flatten();
    match answer["status"].as_str()? {
        // A duplicate is stored: by another request, of a repetition say.
        "stored" | "duplicate" => Some(Outcome::Stored),
        "refused" => Some(Outcome::Refused(text(&answer["reason"]), fields.map(text).collect())),
        "held" => Some(Outcome::Held),
        "discarded" => Some(Outcome::Discarded),
        _ => None,
    }
}
