//! What is behind an operation: the queue, a function, or nothing. The queue's request is made by the
//! document's template, and the document's integration responses turn its answer into ours.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use regex::Regex;
use serde_json::Value;
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::context::RequestContext;
use crate::document::{
    AwsIntegration, DeclaredResponse, Integration as Described, IntegrationResponse, headers,
};
use crate::proxy::{FunctionCall, Functions};
use crate::rejection::Rejection;
use crate::response::response;
use crate::template::{Input, Template};

/// The queue's answers are a few hundred bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What an operation does once a request is found good.
pub(crate) enum Integration {
    /// Calls the queue.
    Queue(QueueCall),
    /// Calls a function.
    Function(FunctionCall),
    /// Answers by itself.
    Mock(Mapping),
}

/// A call to the queue and the meaning of its answers.
#[derive(Debug)]
pub(crate) struct QueueCall {
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    template: Template,
    timeout: Duration,
    /// Tried in order against the status of the queue's answer.
    mappings: Vec<(Regex, Mapping)>,
    default: Mapping,
}

/// A response to the client.
#[derive(Debug)]
pub(crate) struct Mapping {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    template: Option<Template>,
}

impl Integration {
    /// Compiles an integration.
    ///
    /// # Errors
    /// Anything that is not supported, or a response that the operation does not declare: API
    /// Gateway would refuse that too.
    pub(crate) fn new(
        integration: Described,
        declared: &BTreeMap<String, DeclaredResponse>,
        functions: &Functions,
    ) -> Result<Self> {
        match integration {
            Described::Aws(call) => QueueCall::new(call, declared).map(Self::Queue),
            Described::AwsProxy(call) => FunctionCall::new(&call, functions).map(Self::Function),
            Described::Mock(mock) => Mapping::new(mock.responses.default, declared).map(Self::Mock),
        }
    }

    /// Whether a request must be JSON. A queue's message is made by a template, and there is none for
    /// other content types; a function gets any request.
    pub(crate) fn takes_json_only(&self) -> bool {
        match self {
            Self::Queue(_) | Self::Mock(_) => true,
            Self::Function(_) => false,
        }
    }
}

impl QueueCall {
    fn new(call: AwsIntegration, declared: &BTreeMap<String, DeclaredResponse>) -> Result<Self> {
        let mut default = None;
        let mut mappings = Vec::new();
        for (pattern, mapping) in call.responses {
            let mapping = Mapping::new(mapping, declared)
                .with_context(|| format!("the integration response {pattern}"))?;
            if pattern == "default" {
                default = Some(mapping);
            } else {
                mappings.push((Regex::new(&format!("^(?:{pattern})$"))?, mapping));
            }
        }
        let template = Template::parse(&call.request_templates.json);
        Ok(Self {
            uri: queue_path(&call.uri)?,
            headers: headers(call.request_parameters, "integration.request.header.")?,
            template: template.context("the request template")?,
            timeout: Duration::from_millis(call.timeout_in_millis),
            mappings,
            default: default.context("no default integration response")?,
        })
    }

    /// Calls the queue. The answer is the client's.
    ///
    /// # Errors
    /// The queue gave no answer, or one that is not text.
    pub(crate) async fn call(
        &self,
        queue: &Router,
        input: Input<'_>,
        context: &RequestContext,
    ) -> Result<Response<Body>, Rejection> {
        let answer = timeout(self.timeout, self.send(queue, input, context)).await;
        let (status, answer) = answer.map_err(|_| Rejection::IntegrationTimeout)??;
        Ok(self.mapping(status).respond(&answer, context))
    }

    async fn send(
        &self,
        queue: &Router,
        input: Input<'_>,
        context: &RequestContext,
    ) -> Result<(StatusCode, String), Rejection> {
        let form = self.template.render(input, &|field| context.get(field)).text;
        let mut request = Request::new(Body::from(form));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().extend(self.headers.iter().cloned());
        let Ok(answer) = queue.clone().oneshot(request).await;
        let status = answer.status();
        let bytes = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = bytes.map_err(|_| Rejection::IntegrationFailure)?.to_bytes();
        let text = String::from_utf8(bytes.into()).map_err(|_| Rejection::IntegrationFailure)?;
        Ok((status, text))
    }

    fn mapping(&self, status: StatusCode) -> &Mapping {
        let chosen = self.mappings.iter().find(|(pattern, _)| pattern.is_match(status.as_str()));
        chosen.map_or(&self.default, |(_, mapping)| mapping)
    }
}

impl Mapping {
    fn new(
        described: IntegrationResponse,
        declared: &BTreeMap<String, DeclaredResponse>,
    ) -> Result<Self> {
        let status = described.status_code;
        let declared = declared.get(status.as_str());
        let declared =
            declared.with_context(|| format!("the response {status} is not declared"))?;
        for parameter in described.response_parameters.keys() {
            let known = parameter
                .strip_prefix("method.response.header.")
                .is_some_and(|header| declared.headers.contains_key(header));
            ensure!(known, "the response {status} does not declare {parameter}");
        }
        let template = described.response_templates.map(|only| Template::parse(&only.json));
        Ok(Self {
            status,
            headers: headers(described.response_parameters, "method.response.header.")?,
            template: template.transpose().context("the response template")?,
        })
    }

    /// The response to the client, made of the queue's answer.
    pub(crate) fn respond(&self, answer: &str, context: &RequestContext) -> Response<Body> {
        let Some(template) = &self.template else {
            return response(self.status, &self.headers, String::new());
        };
        let json = serde_json::from_str(answer).unwrap_or(Value::Null);
        let rendered =
            template.render(Input { body: answer, json: &json }, &|field| context.get(field));
        response(rendered.status.unwrap_or(self.status), &self.headers, rendered.text)
    }
}

/// The queue's path out of `arn:…:apigateway:…:sqs:path/<account>/<queue>`.
fn queue_path(uri: &str) -> Result<Uri> {
    let parts: Vec<&str> = uri.split(':').collect();
    let ["arn", _, "apigateway", _, "sqs", path] = parts[..] else {
        anyhow::bail!("the only service known to an integration is SQS, by path");
    };
    let path = path.strip_prefix("path").context("SQS is not called by path")?;
    path.parse().context("the path of an integration")
}
