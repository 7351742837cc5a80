//! What the gateway knows about one request besides its content: the values of `$context`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rejection::Rejection;
use crate::template::Field;
use crate::tokens::Claims;

/// One request.
#[derive(Debug)]
pub(crate) struct RequestContext {
    request_id: String,
    /// The one that every answer has, and that a client cannot choose.
    pub(crate) extended_request_id: String,
    arrived_at_ms: u128,
    trace_id: Option<String>,
    /// Who is calling, once that is verified.
    pub(crate) claims: Option<Arc<Claims>>,
    /// Why the request is refused, if it is.
    pub(crate) rejection: Option<Rejection>,
}

impl RequestContext {
    /// The context of a request that arrives now.
    pub(crate) fn new(headers: &HeaderMap) -> Self {
        let trace = headers.get("x-amzn-trace-id").and_then(|value| value.to_str().ok());
        let root =
            trace.and_then(|trace| trace.split(';').find_map(|part| part.strip_prefix("Root=")));
        let arrived_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            request_id: Uuid::new_v4().to_string(),
            // API Gateway's have this form: sixteen characters with one '=' at the end.
            extended_request_id: BASE64_URL_SAFE.encode(&Uuid::new_v4().as_bytes()[..11]),
            arrived_at_ms: arrived_at.as_millis(),
            trace_id: root.map(str::to_owned),
            claims: None,
            rejection: None,
        }
    }

    /// The two request ids as API Gateway sends them.
    pub(crate) fn id_headers(&self) -> [(&'static str, HeaderValue); 2] {
        let value = |id: &str| HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static(""));
        [
            ("x-amzn-requestid", value(&self.request_id)),
            ("x-amz-apigw-id", value(&self.extended_request_id)),
        ]
    }

    /// The part of it that a function is given.
    pub(crate) fn to_json(&self) -> Value {
        let authorizer = self.claims.as_ref().map(|claims| json!({ "claims": **claims }));
        json!({
            "requestId": self.request_id,
            "extendedRequestId": self.extended_request_id,
            "requestTimeEpoch": u64::try_from(self.arrived_at_ms).unwrap_or_default(),
            "authorizer": authorizer,
        })
    }

    /// The value of a `$context` variable.
    pub(crate) fn get(&self, field: Field) -> Option<Cow<'_, str>> {
        match field {
            Field::ExtendedRequestId => Some(Cow::Borrowed(&self.extended_request_id)),
            Field::RequestTimeEpoch => Some(Cow::Owned(self.arrived_at_ms.to_string())),
            Field::XrayTraceId => self.trace_id.as_deref().map(Cow::Borrowed),
            Field::Subject => self.claims.as_ref().map(|claims| Cow::Borrowed(&*claims.sub)),
            Field::ErrorMessageString => {
                let message = self.rejection.as_ref()?.message();
                Some(Cow::Owned(Value::from(message).to_string()))
            }
            Field::ValidationErrorString => {
                let sentence = self.rejection.as_ref()?.validation_error()?;
                let quoted = Value::from(sentence).to_string();
                Some(Cow::Owned(quoted[1..quoted.len() - 1].to_owned()))
            }
        }
    }
}
