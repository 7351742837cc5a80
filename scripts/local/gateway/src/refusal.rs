//! The answers that the gateway gives without an integration: the document's gateway responses.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::Value;

use crate::context::RequestContext;
use crate::document::{self, ResponseType, headers};
use crate::response;
use crate::template::{Input, Template};

/// Why a request got no further.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The body or the headers are over the limit.
    RequestTooLarge,
    /// The body did not arrive in time, or broke off.
    BodyUnfinished,
    /// No such path, or no such method on it.
    UnknownRoute,
    /// No valid access token with the scope.
    Unauthorized,
    /// Not JSON by its headers.
    UnsupportedMediaType,
    /// Required parameters are missing; the sentence says which.
    InvalidParameters(String),
    /// Not what the schema says; the sentence says where.
    InvalidBody(String),
    /// More requests than permitted.
    Throttled,
    /// The integration gave no answer that can be used.
    IntegrationFailure,
    /// The integration gave no answer in time.
    IntegrationTimeout,
    /// The function failed, or its answer is none.
    FunctionFailed,
    /// No process of the function was free: Lambda's throttling.
    FunctionThrottled,
}

impl Refusal {
    /// The kind of answer, and the status and message that API Gateway gives it.
    fn kind(&self) -> (ResponseType, StatusCode, &'static str) {
        use ResponseType as Type;
        use StatusCode as Status;
        match self {
            Self::RequestTooLarge => {
                (Type::RequestTooLarge, Status::PAYLOAD_TOO_LARGE, "Request Too Long")
            }
            Self::BodyUnfinished => (Type::Default4xx, Status::REQUEST_TIMEOUT, "Request Timeout"),
            Self::UnknownRoute => (
                Type::MissingAuthenticationToken,
                Status::FORBIDDEN,
                "Missing Authentication Token",
            ),
            Self::Unauthorized => (Type::Unauthorized, Status::UNAUTHORIZED, "Unauthorized"),
            Self::UnsupportedMediaType => (
                Type::UnsupportedMediaType,
                Status::UNSUPPORTED_MEDIA_TYPE,
                "Unsupported Media Type",
            ),
            Self::InvalidParameters(_) => {
                (Type::BadRequestParameters, Status::BAD_REQUEST, "Invalid request parameters")
            }
            Self::InvalidBody(_) => {
                (Type::BadRequestBody, Status::BAD_REQUEST, "Invalid request body")
            }
            Self::Throttled => (Type::Throttled, Status::TOO_MANY_REQUESTS, "Too Many Requests"),
            Self::IntegrationFailure => {
                (Type::IntegrationFailure, Status::GATEWAY_TIMEOUT, "Internal server error")
            }
            Self::IntegrationTimeout => {
                (Type::IntegrationTimeout, Status::GATEWAY_TIMEOUT, "Endpoint request timed out")
            }
            Self::FunctionFailed => {
                (Type::Default5xx, Status::BAD_GATEWAY, "Internal server error")
            }
            Self::FunctionThrottled => {
                (Type::Default5xx, Status::INTERNAL_SERVER_ERROR, "Internal server error")
            }
        }
    }

    /// What the schema's check said, if it was that.
    pub(crate) fn validation_error(&self) -> Option<&str> {
        match self {
            Self::InvalidParameters(sentence) | Self::InvalidBody(sentence) => Some(sentence),
            Self::RequestTooLarge
            | Self::BodyUnfinished
            | Self::UnknownRoute
            | Self::Unauthorized
            | Self::UnsupportedMediaType
            | Self::Throttled
            | Self::IntegrationFailure
            | Self::IntegrationTimeout
            | Self::FunctionFailed
            | Self::FunctionThrottled => None,
        }
    }

    /// The words that API Gateway has for it.
    pub(crate) fn message(&self) -> &'static str {
        self.kind().2
    }
}

/// The gateway responses of the document.
#[derive(Debug)]
pub(crate) struct Refusals(BTreeMap<ResponseType, GatewayResponse>);

#[derive(Debug)]
struct GatewayResponse {
    status: Option<StatusCode>,
    headers: Vec<(HeaderName, HeaderValue)>,
    template: Template,
}

impl Refusals {
    /// Compiles the gateway responses.
    ///
    /// # Errors
    /// A template or header that is not supported, or no default for the others.
    pub(crate) fn new(
        responses: BTreeMap<ResponseType, document::GatewayResponse>,
    ) -> Result<Self> {
        for default in [ResponseType::Default4xx, ResponseType::Default5xx] {
            ensure!(responses.contains_key(&default), "no gateway response {default:?}");
        }
        let compile = |(kind, response): (ResponseType, document::GatewayResponse)| {
            let template = Template::parse_plain(&response.response_templates.json);
            let headers = headers(response.response_parameters, "gatewayresponse.header.");
            let describe = || format!("the gateway response {kind:?}");
            let (template, headers) =
                (template.with_context(describe)?, headers.with_context(describe)?);
            Ok((kind, GatewayResponse { status: response.status_code, headers, template }))
        };
        Ok(Self(responses.into_iter().map(compile).collect::<Result<_>>()?))
    }

    /// The answer to a refused request.
    pub(crate) fn respond(&self, refusal: Refusal, mut context: RequestContext) -> Response<Body> {
        let (kind, status, _) = refusal.kind();
        let default = if status.is_client_error() {
            ResponseType::Default4xx
        } else {
            ResponseType::Default5xx
        };
        context.refusal = Some(refusal);
        let known = self.0.get(&kind).unwrap_or_else(|| &self.0[&default]);
        let nothing = Input { body: "", json: &Value::Null };
        let text = known.template.render(nothing, &|field| context.get(field)).text;
        response(known.status.unwrap_or(status), &known.headers, text)
    }
}
