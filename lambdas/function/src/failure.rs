//! Why a call of another service failed, and whether the same call may succeed later.

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFailure {
    /// The service or its key refused work for now: too many requests.
    Throttled,
    /// The service answered with an error of its own or could not be reached.
    Unavailable,
    /// No answer in time.
    TimedOut,
    /// The function may not use the service or its key.
    AccessDenied,
    /// What the call names does not exist.
    NotFound,
    /// The service refused the request as invalid.
    RequestRejected,
    /// There is no more room for what the call would store.
    Full,
    /// What the call brought is not what we wrote.
    Unreadable,
    /// An error that we do not know.
    Unknown,
}

impl CallFailure {
    /// All of them.
    pub const ALL: [CallFailure; 9] = [
        CallFailure::Throttled,
        CallFailure::Unavailable,
        CallFailure::TimedOut,
        CallFailure::AccessDenied,
        CallFailure::NotFound,
        CallFailure::RequestRejected,
        CallFailure::Full,
        CallFailure::Unreadable,
        CallFailure::Unknown,
    ];

    /// Its name in attributes, records, logs and metrics. Three of them name a table, because they were
    /// given when tables were all that was called; what is stored and waits under them keeps its meaning.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CallFailure::Throttled => "throttled",
            CallFailure::Unavailable => "unavailable",
            CallFailure::TimedOut => "timed_out",
            CallFailure::AccessDenied => "access_denied",
            CallFailure::NotFound => "table_not_found",
            CallFailure::RequestRejected => "request_rejected",
            CallFailure::Full => "collection_full",
            CallFailure::Unreadable => "item_unreadable",
            CallFailure::Unknown => "unknown_error",
        }
    }

    /// Whether the same call may succeed later: when load falls, a service recovers, or an operator mends
    /// a permission, a table, an item or a bad release while messages wait.
    #[must_use]
    pub fn may_pass(self) -> bool {
        match self {
            CallFailure::Throttled
            | CallFailure::Unavailable
            | CallFailure::TimedOut
            | CallFailure::AccessDenied
            | CallFailure::NotFound
            | CallFailure::RequestRejected
            | CallFailure::Unreadable
            | CallFailure::Unknown => true,
            CallFailure::Full => false,
        }
    }

    /// Why a call of an SDK failed. `by_code` knows the service's own error codes; it is given the code
    /// and the HTTP status.
    pub fn of<E: ProvideErrorMetadata>(
        error: &SdkError<E, Response>,
        by_code: impl FnOnce(Option<&str>, u16) -> CallFailure,
    ) -> CallFailure {
        match error {
            SdkError::TimeoutError(_) => CallFailure::TimedOut,
            SdkError::DispatchFailure(failure) if failure.is_timeout() => CallFailure::TimedOut,
            SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => CallFailure::Unavailable,
            SdkError::ServiceError(answer) => {
                by_code(answer.err().code(), answer.raw().status().as_u16())
            }
            SdkError::ConstructionFailure(_) => CallFailure::RequestRejected,
            _ => CallFailure::Unknown,
        }
    }
}
