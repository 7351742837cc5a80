//! Why an invocation gave no response.

use std::time::Duration;

use serde::Deserialize;

/// Why an invocation gave no response. None of them says whether the function's work was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// The function ran and reported an error; its process goes on.
    #[error("the function reported {0}")]
    FunctionError(ErrorReport),
    /// The function did not answer in time; its process is killed, as Lambda does.
    #[error("the function did not answer within {} ms", after.as_millis())]
    TimedOut {
        /// The time it was given.
        after: Duration,
    },
    /// The process ended before it answered.
    #[error("the function's process ended before it answered")]
    Exited,
    /// The process reported that it cannot start.
    #[error("the function failed to start: {0}")]
    InitFailed(ErrorReport),
    /// No process became free in time, or the function is being stopped; nothing was invoked.
    #[error("no process of the function became free in time")]
    Unavailable,
}

/// An error as a function reports it to the Runtime API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{error_type}: {message}")]
pub struct ErrorReport {
    /// The kind of error, a name of the function's choice.
    #[serde(rename = "errorType", default)]
    pub error_type: String,
    /// What the function says about it.
    #[serde(rename = "errorMessage", default)]
    pub message: String,
}

impl ErrorReport {
    pub(crate) fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_else(|_| Self {
            error_type: "Runtime.Unknown".to_owned(),
            message: "the error report is not the JSON object it should be".to_owned(),
        })
    }
}
