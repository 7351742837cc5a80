//! Calls to functions: the whole request as an event, and the function's answer as the whole response
//! (API Gateway Developer Guide, "Lambda proxy integrations").

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::context::RequestContext;
use crate::document::ProxyIntegration;
use crate::rejection::Rejection;
use crate::route::PathParameters;

/// Why a function gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// It was not invoked, because none of its processes was free: Lambda's throttling.
    Throttled,
    /// It was invoked and failed: it reported an error, ended, or took longer than its own time.
    Failed,
}

/// Invokes a function with an event.
pub type Invoke = Arc<dyn Fn(Bytes) -> BoxFuture<'static, Result<Bytes, NoAnswer>> + Send + Sync>;

/// Functions by their ARNs.
pub type Functions = BTreeMap<String, Invoke>;

/// One function, which never answers: enough for tests that only submit payments.
#[must_use]
pub fn unanswering(arn: &str) -> Functions {
    let invoke: Invoke = Arc::new(|_| Box::pin(std::future::pending()));
    [(arn.to_owned(), invoke)].into()
}

/// A call to a function.
pub(crate) struct FunctionCall {
    invoke: Invoke,
    timeout: Duration,
}

/// A request with all its parts.
pub(crate) struct ProxyRequest<'r> {
    pub(crate) method: Method,
    /// The path as the document has it.
    pub(crate) resource: &'r str,
    pub(crate) path: &'r str,
    pub(crate) headers: HeaderMap,
    pub(crate) query: BTreeMap<String, Vec<String>>,
    pub(crate) path_parameters: PathParameters,
    pub(crate) body: Bytes,
}

/// What a function answers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Answer {
    status_code: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
}

impl FunctionCall {
    /// Compiles the integration.
    ///
    /// # Errors
    /// The URI does not invoke a function, or one that is not among `functions`.
    pub(crate) fn new(call: &ProxyIntegration, functions: &Functions) -> Result<Self> {
        let parts: Vec<&str> = call.uri.splitn(6, ':').collect();
        let ["arn", _, "apigateway", _, "lambda", path] = parts[..] else {
            anyhow::bail!("the only service known to a proxy integration is Lambda");
        };
        let function = path.strip_prefix("path/2015-03-31/functions/");
        let function = function.and_then(|path| path.strip_suffix("/invocations"));
        let function = function.context("a function is not invoked by its path")?;
        let invoke = functions.get(function).with_context(|| format!("no function {function}"))?;
        let timeout = Duration::from_millis(call.timeout_in_millis);
        Ok(Self { invoke: Arc::clone(invoke), timeout })
    }

    /// Invokes the function. The answer is the client's.
    ///
    /// # Errors
    /// The function failed, did not answer in time, or answered with something that API Gateway would not
    /// take.
    pub(crate) async fn send(
        &self,
        request: &ProxyRequest<'_>,
        context: &RequestContext,
    ) -> Result<Response<Body>, Rejection> {
        let event = Bytes::from(request.event(context).to_string());
        let invoked = timeout(self.timeout, (self.invoke)(event)).await;
        let invoked = invoked.map_err(|_| Rejection::IntegrationTimeout)?;
        let answer = invoked.map_err(|error| match error {
            NoAnswer::Throttled => Rejection::FunctionThrottled,
            NoAnswer::Failed => Rejection::FunctionFailed,
        })?;
        response(&answer).ok_or(Rejection::FunctionFailed)
    }
}

impl ProxyRequest<'_> {
    fn event(&self, context: &RequestContext) -> Value {
        let mut request_context = context.to_json();
        request_context["httpMethod"] = json!(self.method.as_str());
        request_context["resourcePath"] = json!(self.resource);
        let mut headers = BTreeMap::<&str, Vec<_>>::new();
        for (name, value) in &self.headers {
            headers
                .entry(name.as_str())
                .or_default()
                .push(String::from_utf8_lossy(value.as_bytes()));
        }
        let body = (!self.body.is_empty()).then(|| String::from_utf8_lossy(&self.body));
        json!({
            "resource": self.resource,
            "path": self.path,
            "httpMethod": self.method.as_str(),
            "headers": last_values(&headers),
            "multiValueHeaders": some(&headers),
            "queryStringParameters": last_values(&self.query),
            "multiValueQueryStringParameters": some(&self.query),
            "pathParameters": some(&self.path_parameters),
            "stageVariables": null,
            "requestContext": request_context,
            "body": body,
            "isBase64Encoded": false,
        })
    }
}

/// API Gateway sends null in place of an empty map.
fn some<K: serde::Serialize, V: serde::Serialize>(map: &BTreeMap<K, V>) -> Value {
    if map.is_empty() { Value::Null } else { json!(map) }
}

/// The last value of each name.
fn last_values<K: ToString, V: serde::Serialize>(map: &BTreeMap<K, Vec<V>>) -> Value {
    let last = |(name, values): (&K, &Vec<V>)| Some((name.to_string(), json!(values.last()?)));
    let last: Map<String, Value> = map.iter().filter_map(last).collect();
    if last.is_empty() { Value::Null } else { Value::Object(last) }
}

fn response(answer: &[u8]) -> Option<Response<Body>> {
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status_code).ok()?;
    for (name, value) in answer.headers {
        let name = HeaderName::try_from(name).ok()?;
        response.headers_mut().insert(name, HeaderValue::try_from(value).ok()?);
    }
    Some(response)
}
