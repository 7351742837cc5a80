//! A request's way through the gateway: every check in API Gateway's order, then the integration.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use jsonwebtoken::get_current_timestamp;
use serde_json::Value;
use tokio::time::timeout;

use crate::authorizer::Authorizer;
use crate::context::RequestContext;
use crate::document::{self, Components, Document, RequestValidator};
use crate::gateway_responses::GatewayResponses;
use crate::integration::Integration;
use crate::proxy::{Functions, ProxyRequest};
use crate::rate::RateLimit;
use crate::rejection::Rejection;
use crate::route::{self, PathParameters, Route};
use crate::template::Input;
use crate::tokens::Verifier;
use crate::validation::BodyValidation;

/// API Gateway's limit on the request line and the headers together.
const HEAD_BYTES_MAX: usize = 10_240;
/// The firewall's limit on a body.
pub(crate) const BODY_BYTES_MAX: usize = 8 * 1024;

/// The gateway, ready to serve.
pub struct Gateway(Arc<Inner>);

/// What the document does not say.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Requests per second that are let through, and how many may come at once. `None` lets all through.
    pub rate_limit: Option<NonZeroU32>,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { rate_limit: None, body_timeout: Duration::from_secs(10) }
    }
}

struct Inner {
    /// The more literal ones first.
    routes: Vec<(Route, HashMap<Method, Operation>)>,
    gateway_responses: GatewayResponses,
    authorizer: Authorizer,
    rate_limit: Option<RateLimit>,
    body_timeout: Duration,
    queue: Router,
}

/// One method of one path, compiled.
struct Operation {
    /// A caller's token needs one of these scopes. `None`: no token is needed.
    scopes: Option<Vec<String>>,
    /// The parameters of which it is checked that they are there.
    parameters: Vec<document::Parameter>,
    body: Option<BodyValidation>,
    integration: Integration,
}

impl Gateway {
    /// Compiles the rendered document. `queue` answers SQS's query protocol and is called in
    /// process; `functions` are those that the document may name.
    ///
    /// # Errors
    /// Something in the document that this gateway does not know, or that contradicts itself.
    pub fn new(
        document: &str,
        verifier: Verifier,
        queue: Router,
        functions: &Functions,
        options: Options,
    ) -> Result<Self> {
        let Document { validators, paths, gateway_responses, components, .. } =
            Document::parse(document)?;
        let mut routes = Vec::new();
        for (path, verbs) in paths {
            let route = Route::new(&path)?;
            let mut operations = HashMap::new();
            for (verb, operation) in verbs {
                let checked = route.check_declared(&operation.parameters);
                let operation = checked
                    .and_then(|()| Operation::new(operation, &validators, &components, functions))
                    .with_context(|| format!("the operation {verb:?} {path}"))?;
                operations.insert(verb.into(), operation);
            }
            routes.push((route, operations));
        }
        routes.sort_by_key(|(route, _)| route.parameter_count());
        Ok(Self(Arc::new(Inner {
            routes,
            gateway_responses: GatewayResponses::new(gateway_responses)?,
            authorizer: Authorizer::new(verifier),
            rate_limit: options.rate_limit.map(RateLimit::new),
            body_timeout: options.body_timeout,
            queue,
        })))
    }

    /// The gateway as a service.
    pub fn router(&self) -> Router {
        Router::new().fallback(handle).with_state(Arc::clone(&self.0))
    }
}

impl Operation {
    fn new(
        described: document::Operation,
        validators: &BTreeMap<String, RequestValidator>,
        components: &Components,
        functions: &Functions,
    ) -> Result<Self> {
        let scopes = match &described.security[..] {
            [] => None,
            [schemes] if schemes.len() == 1 => schemes.iter().next(),
            _ => bail!("one security scheme is supported, not several"),
        };
        if let Some((scheme, scopes)) = scopes {
            ensure!(components.security_schemes.contains_key(scheme), "no such scheme: {scheme}");
            ensure!(!scopes.is_empty(), "without a scope, ID tokens would be accepted");
        }
        let validator = validators.get(&described.validator).context("no such validator")?;
        if let (Some(body), document::Integration::Aws(call)) =
            (&described.request_body, &described.integration)
        {
            // A content type with a template and without a schema would pass unchecked.
            ensure!(
                body.content.spellings == call.request_templates.spellings,
                "the content types of the body are not those of its templates"
            );
        }
        let body = described.request_body.filter(|_| validator.validate_request_body);
        let compile = |body: document::RequestBody| {
            BodyValidation::new(&body.content.json.schema, &components.schemas)
        };
        let checked = validator.validate_request_parameters;
        let integration = described.integration;
        Ok(Self {
            scopes: scopes.map(|(_, scopes)| scopes.clone()),
            parameters: if checked { described.parameters } else { Vec::new() },
            body: body.map(compile).transpose()?,
            integration: Integration::new(integration, &described.responses, functions)?,
        })
    }
}

async fn handle(State(gateway): State<Arc<Inner>>, request: Request<Body>) -> Response<Body> {
    let mut context = RequestContext::new(request.headers());
    let ids = context.id_headers();
    let answer = gateway.answer(request, &mut context).await;
    let mut response =
        answer.unwrap_or_else(|rejection| gateway.gateway_responses.respond(rejection, context));
    response.headers_mut().extend(ids.map(|(name, id)| (HeaderName::from_static(name), id)));
    response
}

impl Inner {
    /// Every check in API Gateway's order, then the integration.
    async fn answer(
        &self,
        request: Request<Body>,
        context: &mut RequestContext,
    ) -> Result<Response<Body>, Rejection> {
        let (Parts { method, uri, headers, .. }, body) = request.into_parts();
        check_head(&uri, &headers)?;
        let (route, operation, path_parameters) =
            self.find(&method, uri.path()).ok_or(Rejection::UnknownRoute)?;
        let body = read_body(body, self.body_timeout).await?;
        if let Some(scopes) = &operation.scopes {
            let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            let claims = self.authorizer.authorize(token, scopes, get_current_timestamp());
            context.claims = Some(claims.map_err(|fault| {
                let (path, request_id) = (&route.resource, &context.extended_request_id);
                tracing::warn!(%method, path, requestId = request_id, "401 Unauthorized: {fault}");
                Rejection::Unauthorized
            })?);
        }
        let query = route::query_of(uri.query());
        route::check_required(&operation.parameters, &query, &headers)?;
        if operation.integration.takes_json_only() {
            check_media_type(&headers)?;
        }
        let json = match &operation.body {
            Some(schema) => schema.check(&body).map_err(Rejection::InvalidBody)?,
            None => Value::Null,
        };
        if self.rate_limit.as_ref().is_some_and(|limit| !limit.admit(Instant::now())) {
            return Err(Rejection::Throttled);
        }
        match &operation.integration {
            Integration::Function(call) => {
                let (resource, path) = (&route.resource, uri.path());
                let request =
                    ProxyRequest { method, resource, path, headers, query, path_parameters, body };
                call.send(&request, context).await
            }
            Integration::Queue(call) => {
                // Without a schema nothing has checked it.
                let body = std::str::from_utf8(&body);
                let body = body.map_err(|_| Rejection::UnsupportedMediaType)?;
                call.call(&self.queue, Input { body, json: &json }, context).await
            }
            Integration::Mock(mapping) => Ok(mapping.respond("", context)),
        }
    }

    /// The operation of a request, with its route and the values in its path. Of several routes that
    /// match, API Gateway takes the most literal one, and looks for the method in no other.
    fn find(&self, method: &Method, path: &str) -> Option<(&Route, &Operation, PathParameters)> {
        let routes = self.routes.iter();
        let mut matched =
            routes.filter_map(|(route, verbs)| Some((route, verbs, route.matched(path)?)));
        let (route, verbs, values) = matched.next()?;
        Some((route, verbs.get(method)?, values))
    }
}

fn check_head(uri: &Uri, headers: &HeaderMap) -> Result<(), Rejection> {
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    let fits = target + fields.sum::<usize>() <= HEAD_BYTES_MAX;
    fits.then_some(()).ok_or(Rejection::RequestTooLarge)
}

async fn read_body(body: Body, patience: Duration) -> Result<Bytes, Rejection> {
    let whole = timeout(patience, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    match whole {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Rejection::RequestTooLarge)
        }
        Ok(Err(_)) | Err(_) => Err(Rejection::BodyUnfinished),
    }
}

/// JSON or nothing said, and not compressed.
fn check_media_type(headers: &HeaderMap) -> Result<(), Rejection> {
    let json = headers
        .get_all(header::CONTENT_TYPE)
        .iter()
        .all(|value| value.to_str().is_ok_and(document::is_json));
    let plain = headers.get_all(header::CONTENT_ENCODING).iter().all(|value| value == "identity");
    (json && plain).then_some(()).ok_or(Rejection::UnsupportedMediaType)
}
