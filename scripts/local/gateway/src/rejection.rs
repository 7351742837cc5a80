//! Why the gateway answers a request itself, and what API Gateway has for each reason.

use axum::http::StatusCode;

use crate::document::ResponseType;

/// Why a request got no further.
#[derive(Debug)]
pub(crate) enum Rejection {
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
    /// The function failed, or answered with something that is no answer of a function.
    FunctionFailed,
    /// No process of the function was free: Lambda's throttling.
    FunctionThrottled,
}

impl Rejection {
    /// The kind of answer, and the status and message that API Gateway gives it.
    pub(crate) fn kind(&self) -> (ResponseType, StatusCode, &'static str) {
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
