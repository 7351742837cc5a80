//! How a command ends: with everything done, with something left to do, or with an error.

use std::path::Path;

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use function::queue::code_of;

use crate::terminal::note;

/// How a command ends that was able to do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Everything is done.
    Done,
    /// Something is left to do. The command has said what.
    Unfinished,
}

impl Ending {
    /// [`Ending::Done`] if everything is done.
    pub(crate) fn of(is_done: bool) -> Ending {
        if is_done { Ending::Done } else { Ending::Unfinished }
    }

    /// The ending of a command that had already begun to change something. An error after that point must
    /// not end in the exit code that says "nothing was changed".
    pub(crate) fn after_changes(result: Result<Ending, Error>) -> Ending {
        result.unwrap_or_else(|error| {
            note(&format!("error: {error}"));
            Ending::Unfinished
        })
    }
}

/// Why a command could not do its work. The text says what an operator can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is missing or wrong that the operator can set right. Nothing was changed.
    #[error("{0}")]
    Configuration(String),
    /// A call of an AWS service failed. This keeps the service's error code, and not its message, which
    /// may quote a payment.
    #[error("cannot {attempted}: {code}{}", advice(code))]
    Call {
        /// What was attempted.
        attempted: &'static str,
        /// The service's code for the error, or, without an answer, words for what was in the way.
        code: String,
    },
    /// A file cannot be read or written.
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
    pub(crate) fn configuration(text: impl Into<String>) -> Error {
        Error::Configuration(text.into())
    }

    pub(crate) fn call<E: ProvideErrorMetadata, R>(
        attempted: &'static str,
        error: &SdkError<E, R>,
    ) -> Error {
        Error::Call { attempted, code: code_of(error) }
    }

    pub(crate) fn file(attempted: &'static str, path: &Path, source: std::io::Error) -> Error {
        Error::File { attempted, path: path.display().to_string(), source }
    }
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
