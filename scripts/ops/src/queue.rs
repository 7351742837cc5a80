//! Calls of SQS, and the errors they end in.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::QueueAttributeName as Name;

/// Entries of a batch call (SQS's quota).
pub(crate) const BATCH_MAX: usize = 10;

/// Batch calls under way at once. So many keep the local queue busy; SQS answers each in about 10 ms.
pub(crate) const LANES: usize = 8;

/// Every failure ends the command; what an operator can do about it stands in the text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is missing or wrong that the operator can set right. Nothing was changed.
    #[error("{0}")]
    Configuration(String),
    /// A call failed. It names the service's error code and never its message, which may quote a body.
    #[error("cannot {attempted}: {code}{}", advice(code))]
    Call {
        /// What was attempted.
        attempted: &'static str,
        /// The service's name for the error, or the SDK's when there was no answer.
        code: String,
    },
    /// A file that cannot be read or written.
    #[error("cannot {attempted} {path}: {source}")]
    File {
        /// What was attempted.
        attempted: &'static str,
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn call<E: ProvideErrorMetadata, R>(
        attempted: &'static str,
        error: &SdkError<E, R>,
    ) -> Error {
        Error::Call { attempted, code: code_of(error) }
    }

    pub(crate) fn file(
        attempted: &'static str,
        path: &std::path::Path,
        source: std::io::Error,
    ) -> Error {
        Error::File { attempted, path: path.display().to_string(), source }
    }
}

/// The service's name for an error, or what kept it from answering.
pub(crate) fn code_of<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    let kind = match error {
        SdkError::ServiceError(_) => error.code().unwrap_or("error without a code"),
        SdkError::TimeoutError(_) => "no answer in time",
        SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_timeout() => {
            "not reached"
        }
        // No credentials, no region: what keeps a request from being sent at all.
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => "request not sent",
        SdkError::ResponseError(_) => "unreadable answer",
        _ => "unknown error",
    };
    kind.to_owned()
}

fn advice(code: &str) -> &'static str {
    match code {
        "AccessDenied" | "AccessDeniedException" | "KMS.AccessDeniedException" => {
            "; take the operator's role (operator_role_arn of the Terraform outputs), with MFA"
        }
        "ExpiredToken" | "ExpiredTokenException" | "InvalidClientTokenId" | "request not sent" => {
            "; are there credentials and a region? Try `aws sts get-caller-identity`, \
             `aws sso login`, --profile, --region"
        }
        "AWS.SimpleQueueService.NonExistentQueue" | "QueueDoesNotExist" => {
            "; check --queue-url, --dead-letter-queue-url, --region and --profile"
        }
        "not reached" | "no answer in time" => {
            "; is the network, or `cargo local`, up? Nothing is lost; try again"
        }
        _ => "",
    }
}

/// What a queue says of itself. The counts are approximate: SQS promises no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages that can be received.
    pub visible: u64,
    /// Messages that somebody has received and not deleted.
    pub in_flight: u64,
    /// Messages that become visible later.
    pub delayed: u64,
    /// How long it keeps a message.
    pub retention: Duration,
    /// Its name to IAM and move tasks.
    pub arn: String,
}

impl Depth {
    /// Everything that it holds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.visible + self.in_flight + self.delayed
    }
}

/// Asks a queue for its counts.
///
/// # Errors
/// It gives no answer.
pub async fn depth(client: &Client, queue_url: &str) -> Result<Depth, Error> {
    let names = [
        Name::ApproximateNumberOfMessages,
        Name::ApproximateNumberOfMessagesNotVisible,
        Name::ApproximateNumberOfMessagesDelayed,
        Name::MessageRetentionPeriod,
        Name::QueueArn,
    ];
    let get = client.get_queue_attributes().queue_url(queue_url);
    let got = get.set_attribute_names(Some(names.to_vec())).send().await;
    let got = got.map_err(|error| Error::call("ask the queue for its counts", &error))?;
    let attributes = got.attributes.unwrap_or_default();
    let number = |name: &Name| {
        attributes.get(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default()
    };
    Ok(Depth {
        visible: number(&Name::ApproximateNumberOfMessages),
        in_flight: number(&Name::ApproximateNumberOfMessagesNotVisible),
        delayed: number(&Name::ApproximateNumberOfMessagesDelayed),
        retention: Duration::from_secs(number(&Name::MessageRetentionPeriod)),
        arn: attributes.get(&Name::QueueArn).cloned().unwrap_or_default(),
    })
}
