//! The answers that the gateway gives without an integration: the document's gateway responses.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::Value;

use crate::context::RequestContext;
use crate::document::{self, ResponseType, headers};
use crate::rejection::Rejection;
use crate::response::response;
use crate::template::{Input, Template};

/// The gateway responses of the document.
#[derive(Debug)]
pub(crate) struct GatewayResponses(BTreeMap<ResponseType, GatewayResponse>);

#[derive(Debug)]
struct GatewayResponse {
    status: Option<StatusCode>,
    headers: Vec<(HeaderName, HeaderValue)>,
    template: Template,
}

impl GatewayResponses {
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
    pub(crate) fn respond(
        &self,
        rejection: Rejection,
        mut context: RequestContext,
    ) -> Response<Body> {
        let (kind, status, _) = rejection.kind();
        let default = if status.is_client_error() {
            ResponseType::Default4xx
        } else {
            ResponseType::Default5xx
        };
        context.rejection = Some(rejection);
        let known = self.0.get(&kind).unwrap_or_else(|| &self.0[&default]);
        let nothing = Input { body: "", json: &Value::Null };
        let text = known.template.render(nothing, &|field| context.get(field)).text;
        response(known.status.unwrap_or(status), &known.headers, text)
    }
}
