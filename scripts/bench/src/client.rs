//! HTTP on loopback: submissions as a client sends them, and calls of the table and the queues.

use std::sync::Arc;

use anyhow::{Context, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ready::Ready;
use serde::Deserialize;
use serde_json::Value;

/// Nobody checks the signature; only its form has to be right.
const AUTHORIZED: &str = "AWS4-HMAC-SHA256 Credential=local/20261121/us-east-1/local/aws4_request, \
    SignedHeaders=host;x-amz-date, Signature=0";

/// The pipeline's addresses and connections to them. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Client {
    /// Where everything is.
    pub ready: Arc<Ready>,
    http: hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>,
}

impl Client {
    /// A client of the pipeline with this ready file.
    #[must_use]
    pub fn new(ready: Ready) -> Client {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
        Client { ready: Arc::new(ready), http: http.build(connector) }
    }

    /// A client of the same pipeline for another user, with that user's token. Shares the connections.
    #[must_use]
    pub fn of_user(&self, user: &str, token: &str) -> Client {
        let ready =
            Ready { user_id: user.to_owned(), token: token.to_owned(), ..(*self.ready).clone() };
        Client { ready: Arc::new(ready), http: self.http.clone() }
    }

    /// Submits a payment as the client's user; the id of the request when it is accepted.
    ///
    /// # Errors
    /// Any other answer, or none: whether the payment was accepted is then unknown.
    pub async fn submit(&self, payment_id: &str) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Accepted {
            request_id: String,
        }
        let user = &self.ready.user_id;
        let body = format!(
            r#"{{"paymentId":"{payment_id}","userId":"{user}","amount":"10.50","currency":"GBP","description":"Invoice 4711"}}"#
        );
        let request = Request::builder()
            .method(Method::PUT)
            .uri(format!("{}/submit", self.ready.api))
            .header(AUTHORIZATION, format!("Bearer {}", self.ready.token))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body))?;
        let answer = self.send(request).await?;
        Ok(serde_json::from_slice::<Accepted>(&answer)?.request_id)
    }

    /// Asks the API, for example `/payments?limit=25`, as the client's user.
    ///
    /// # Errors
    /// Any other answer than 200, or none.
    pub async fn ask(&self, path: &str) -> anyhow::Result<Value> {
        let request = Request::get(format!("{}{path}", self.ready.api))
            .header(AUTHORIZATION, format!("Bearer {}", self.ready.token))
            .body(Full::default())?;
        Ok(serde_json::from_slice(&self.send(request).await?)?)
    }

    /// A bare PUT: one message of a payment's size on a queue that nobody reads, in the queue's own
    /// query form, as the gateway sends it.
    ///
    /// # Errors
    /// The queue does not take it.
    pub async fn send_bare(&self, queue: &str, payment_id: &str) -> anyhow::Result<()> {
        let user = &self.ready.user_id;
        let form = format!(
            "Action=SendMessage&MessageBody=%7B%22paymentId%22%3A%22{payment_id}%22%2C%22userId%22%3A%22{user}%22%2C%22amount%22%3A%2210.50%22%2C%22currency%22%3A%22GBP%22%2C%22description%22%3A%22Invoice%204711%22%7D"
        );
        let request = Request::post(format!("{}/000000000000/{queue}", self.ready.queue))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(form))?;
        self.send(request).await.map(|_| ())
    }

    /// Calls the table, for example `Scan`.
    ///
    /// # Errors
    /// It refuses, or gives no answer.
    pub async fn table(&self, operation: &str, input: &Value) -> anyhow::Result<Value> {
        self.call(&self.ready.table, &format!("DynamoDB_20120810.{operation}"), input).await
    }

    /// Calls the queues, for example `GetQueueAttributes`.
    ///
    /// # Errors
    /// They refuse, or give no answer.
    pub async fn queue(&self, operation: &str, input: &Value) -> anyhow::Result<Value> {
        self.call(&self.ready.queue, &format!("AmazonSQS.{operation}"), input).await
    }

    async fn call(&self, base: &str, target: &str, input: &Value) -> anyhow::Result<Value> {
        let request = Request::post(format!("{base}/"))
            .header(CONTENT_TYPE, "application/x-amz-json-1.0")
            .header("x-amz-target", target)
            .header(AUTHORIZATION, AUTHORIZED)
            .header("x-amz-date", "20261121T000000Z")
            .body(Full::from(input.to_string()))?;
        let answer = self.send(request).await.with_context(|| format!("calling {target}"))?;
        match answer.is_empty() {
            true => Ok(Value::Null),
            false => Ok(serde_json::from_slice(&answer)?),
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Bytes> {
        let answer = self.http.request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(status == StatusCode::OK, "answered {status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }
}
