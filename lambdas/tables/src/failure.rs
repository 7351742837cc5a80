//! What went wrong at a table, and whether the same request may succeed later.

use std::fmt;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::http::Response;
use function::failure::CallFailure;
use function::retry::Unfinished;

/// What was attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Storing a payment.
    PutPayment,
    /// Reading a stored payment.
    ReadPayment,
    /// Recording a refused or held payment.
    RecordRefusal,
    /// Reading what is on record of a payment.
    ReadRecords,
    /// Listing a user's stored payments.
    ListPayments,
    /// Listing a user's refused or held payments.
    ListRecords,
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Operation::PutPayment => "put payment",
            Operation::ReadPayment => "read payment",
            Operation::RecordRefusal => "record refusal",
            Operation::ReadRecords => "read records",
            Operation::ListPayments => "list payments",
            Operation::ListRecords => "list records",
        })
    }
}

/// A failed operation. Neither form of it repeats what the service said: that may quote an item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {}{}", cause.name(), code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default())]
pub struct Failure {
    /// What was attempted.
    pub operation: Operation,
    /// The kind of error.
    pub cause: CallFailure,
    /// The service's name for it, for our logs.
    pub code: Option<String>,
}

impl Failure {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.cause.may_pass()
    }

    pub(crate) fn unreadable(what: &str) -> Failure {
        Failure {
            operation: Operation::ReadPayment,
            cause: CallFailure::Unreadable,
            code: Some(what.to_owned()),
        }
    }

    pub(crate) fn of<E: ProvideErrorMetadata>(
        operation: Operation,
        error: &SdkError<E, Response>,
    ) -> Failure {
        let cause = CallFailure::of(error, cause_of_code);
        Failure { operation, cause, code: error.code().map(str::to_owned) }
    }
}

impl From<Failure> for Unfinished {
    fn from(failure: Failure) -> Unfinished {
        Unfinished {
            reason: failure.cause.into(),
            may_pass: failure.may_pass(),
            detail: failure.to_string(),
        }
    }
}

/// By the error codes of the DynamoDB API reference ("PutItem" and "Common Errors"), of KMS behind it,
/// and of request signing.
fn cause_of_code(code: Option<&str>, status: u16) -> CallFailure {
    match code.unwrap_or_default() {
        "ProvisionedThroughputExceededException"
        | "RequestLimitExceeded"
        | "ReplicatedWriteConflictException"
        | "Throttling"
        | "ThrottlingException"
        | "TransactionConflictException"
        | "KMSThrottlingException"
        | "LimitExceededException" => CallFailure::Throttled,
        "InternalFailure"
        | "InternalServerError"
        | "KMSInternalException"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => CallFailure::Unavailable,
        "AccessDenied"
        | "AccessDeniedException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "KMSAccessDeniedException"
        | "KMSDisabledException"
        | "KMSInvalidStateException"
        | "KMSNotFoundException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "NotAuthorized"
        | "OptInRequired"
        | "RequestExpired"
        | "UnrecognizedClientException" => CallFailure::AccessDenied,
        "ResourceNotFoundException" => CallFailure::NotFound,
        "InvalidEndpointException"
        | "MalformedQueryString"
        | "SerializationException"
        | "UnknownOperationException"
        | "ValidationError"
        | "ValidationException" => CallFailure::RequestRejected,
        "ItemCollectionSizeLimitExceededException" => CallFailure::Full,
        _ if status == 429 => CallFailure::Throttled,
        _ if status >= 500 => CallFailure::Unavailable,
        _ => CallFailure::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_dynamodb::operation::put_item::PutItemError;
    use aws_sdk_dynamodb::types::error;
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;
    use aws_smithy_types::error::ErrorMetadata;

    type PutError = SdkError<PutItemError, Response>;

    fn answer(status: u16) -> Response {
        Response::new(StatusCode::try_from(status).unwrap(), SdkBody::empty())
    }

    fn check(error: &PutError, cause: CallFailure, may_pass: bool) {
        let failure = Failure::of(Operation::PutPayment, error);
        assert_eq!((failure.cause, failure.may_pass()), (cause, may_pass), "{error:?}");
    }

    #[test]
    fn errors_without_an_answer_may_pass() {
        let io = || ConnectorError::io("cut".into());
        for (error, cause) in [
            (PutError::timeout_error("slow"), CallFailure::TimedOut),
            (
                PutError::dispatch_failure(ConnectorError::timeout("slow".into())),
                CallFailure::TimedOut,
            ),
            (PutError::dispatch_failure(io()), CallFailure::Unavailable),
            (
                PutError::dispatch_failure(ConnectorError::user("no credentials".into())),
                CallFailure::Unavailable,
            ),
            (PutError::response_error("half an answer", answer(200)), CallFailure::Unavailable),
            (PutError::construction_failure("no region"), CallFailure::RequestRejected),
        ] {
            check(&error, cause, true);
        }
    }

    #[test]
    fn modelled_errors_are_classified() {
        macro_rules! modelled {
            ($name:ident) => {
                PutItemError::$name(
                    error::$name::builder()
                        .meta(ErrorMetadata::builder().code(stringify!($name)).build())
                        .build(),
                )
            };
        }
        use CallFailure::{NotFound, RequestRejected, Throttled, Unavailable};
        for (error, cause) in [
            (modelled!(InternalServerError), Unavailable),
            (modelled!(InvalidEndpointException), RequestRejected),
            (modelled!(ProvisionedThroughputExceededException), Throttled),
            (modelled!(ReplicatedWriteConflictException), Throttled),
            (modelled!(RequestLimitExceeded), Throttled),
            (modelled!(ResourceNotFoundException), NotFound),
            (modelled!(ThrottlingException), Throttled),
            (modelled!(TransactionConflictException), Throttled),
        ] {
            check(&PutError::service_error(error, answer(400)), cause, true);
        }
        let full = modelled!(ItemCollectionSizeLimitExceededException);
        check(&PutError::service_error(full, answer(400)), CallFailure::Full, false);
    }

    #[test]
    fn errors_by_code_and_status_are_classified() {
        use CallFailure::{AccessDenied, RequestRejected, Throttled, Unavailable, Unknown};
        for (code, status, cause) in [
            (Some("AccessDeniedException"), 400, AccessDenied),
            (Some("UnrecognizedClientException"), 400, AccessDenied),
            (Some("ExpiredTokenException"), 400, AccessDenied),
            (Some("InvalidSignatureException"), 400, AccessDenied),
            (Some("KMSAccessDeniedException"), 400, AccessDenied),
            (Some("KMSThrottlingException"), 400, Throttled),
            (Some("KMSInternalException"), 500, Unavailable),
            (Some("ValidationException"), 400, RequestRejected),
            (Some("SerializationException"), 400, RequestRejected),
            (Some("ServiceUnavailable"), 503, Unavailable),
            (Some("SomethingNew"), 500, Unavailable),
            (Some("SomethingNew"), 429, Throttled),
            (Some("SomethingNew"), 400, Unknown),
            (None, 503, Unavailable),
            (None, 418, Unknown),
        ] {
            let metadata = ErrorMetadata::builder();
            let metadata = match code {
                Some(code) => metadata.code(code),
                None => metadata,
            };
            let error = PutItemError::generic(metadata.build());
            check(&PutError::service_error(error, answer(status)), cause, true);
        }
    }

    #[test]
    fn a_failure_names_the_code_and_never_the_message() {
        let metadata = ErrorMetadata::builder().code("NewException").message("canary").build();
        let error = PutItemError::generic(metadata);
        let failure =
            Failure::of(Operation::PutPayment, &PutError::service_error(error, answer(400)));
        assert_eq!(failure.to_string(), "put payment: unknown_error (NewException)");
        assert!(!format!("{failure:?}").contains("canary"));
    }
}
