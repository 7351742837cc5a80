//! What SQS refuses, and how each refusal is spelled in its two protocols.

/// SQS's text for a character that XML 1.0 cannot carry.
pub(crate) const ILLEGAL_CHARACTERS: &str = "Invalid characters found. Valid unicode characters \
    are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF";
/// The most bytes that the messages of one batch may have together (SQS's quota).
pub(crate) const BATCH_BYTES_MAX: usize = 1_048_576;

/// Why a queue refused or failed a call. The text of each is what SQS tells a client.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// No queue has this name.
    #[error("The specified queue does not exist.")]
    NoSuchQueue,
    /// CreateQueue met a queue of that name whose attribute of this name differs.
    #[error("A queue already exists with the same name and a different value for attribute {0}")]
    NameExists(String),
    /// The queue attribute does not exist or cannot be set.
    #[error("Unknown Attribute {0}.")]
    UnknownAttribute(String),
    /// The value of this queue attribute is out of its range.
    #[error("Invalid value for the parameter {0}.")]
    InvalidAttributeValue(String),
    /// A parameter breaks a rule; the text says which and why.
    #[error("{0}")]
    InvalidParameter(String),
    /// A required parameter is absent or empty.
    #[error("The request must contain the parameter {0}.")]
    MissingParameter(String),
    /// The body holds a character that XML cannot carry.
    #[error("{ILLEGAL_CHARACTERS}")]
    InvalidContents,
    /// The receipt handle was never issued by this queue.
    #[error("The input receipt handle \"{0}\" is not a valid receipt handle.")]
    InvalidHandle(String),
    /// The message is visible, so it has no visibility timeout to change.
    #[error("The message referred to isn't in flight.")]
    NotInFlight,
    /// 120,000 messages of the queue are in flight.
    #[error("Too many messages are in flight.")]
    OverLimit,
    /// A batch without entries.
    #[error("There should be at least one entry in the batch request.")]
    EmptyBatch,
    /// A batch of more than ten entries.
    #[error("Maximum number of entries per request are 10. You have sent {0}.")]
    TooManyEntries(usize),
    /// Two entries of a batch share this id.
    #[error("Id {0} repeated.")]
    IdsNotDistinct(String),
    /// The id of a batch entry breaks its rule.
    #[error(
        "A batch entry id can only contain alphanumeric characters, hyphens and underscores. \
         It can be at most 80 letters long."
    )]
    InvalidEntryId,
    /// The messages of a batch are together too long; the number is their bytes.
    #[error(
        "Batch requests cannot be longer than {BATCH_BYTES_MAX} bytes. You have sent {0} bytes."
    )]
    BatchTooLong(usize),
    /// The queue of this name was purged less than a minute ago.
    #[error("Only one PurgeQueue operation on {0} is allowed every 60 seconds.")]
    PurgeInProgress(String),
    /// The ARN or task handle of a move task names nothing.
    #[error("{0}")]
    NoSuchResource(String),
    /// An operation of SQS that this queue does not have.
    #[error("{0} is not supported by the local queue.")]
    Unsupported(String),
    /// Not an operation of SQS.
    #[error("The action {0} is not valid for this endpoint.")]
    UnknownAction(String),
    /// The request is not a document of its protocol.
    #[error("The request could not be read.")]
    Malformed,
    /// The database failed: the same call may succeed later.
    #[error("We encountered an internal error. Please try again.")]
    Storage(#[from] rusqlite::Error),
    /// The queue is shutting down, or its commit failed: the same call may succeed later.
    #[error("We encountered an internal error. Please try again.")]
    Stopped,
}

/// How an error is spelled on the wire.
pub(crate) struct Spelling {
    /// `__type` of the JSON protocol.
    pub(crate) shape: &'static str,
    /// `Code` of the query protocol, and of the header `x-amzn-query-error`.
    pub(crate) code: &'static str,
    /// HTTP status; below 500 the sender is at fault.
    pub(crate) status: u16,
}

/// One line of the table below: SQS's own exceptions, the shape without its namespace.
macro_rules! spelling {
    (sqs $shape:literal, $code:literal, $status:literal) => {
        Spelling { shape: concat!("com.amazonaws.sqs#", $shape), code: $code, status: $status }
    };
    (common $shape:literal, $code:literal, $status:literal) => {
        Spelling {
            shape: concat!("com.amazon.coral.service#", $shape),
            code: $code,
            status: $status,
        }
    };
    (batch $shape:literal, $status:literal) => {
        Spelling {
            shape: concat!("com.amazonaws.sqs#", $shape),
            code: concat!("AWS.SimpleQueueService.", $shape),
            status: $status,
        }
    };
}

impl QueueError {
    /// The names and the status that SQS's Smithy model gives this error.
    pub(crate) fn spelling(&self) -> Spelling {
        match self {
            Self::NoSuchQueue => {
                spelling!(sqs "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", 400)
            }
            Self::NameExists(_) => spelling!(sqs "QueueNameExists", "QueueAlreadyExists", 400),
            Self::UnknownAttribute(_) => {
                spelling!(sqs "InvalidAttributeName", "InvalidAttributeName", 400)
            }
            Self::InvalidAttributeValue(_) => {
                spelling!(sqs "InvalidAttributeValue", "InvalidAttributeValue", 400)
            }
            Self::InvalidParameter(_) => {
                spelling!(common "InvalidParameterValueException", "InvalidParameterValue", 400)
            }
            Self::MissingParameter(_) => {
                spelling!(common "MissingRequiredParameterException", "MissingParameter", 400)
            }
            Self::InvalidContents => {
                spelling!(sqs "InvalidMessageContents", "InvalidMessageContents", 400)
            }
            Self::InvalidHandle(_) => {
                spelling!(sqs "ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", 404)
            }
            Self::OverLimit => spelling!(sqs "OverLimit", "OverLimit", 403),
            Self::NotInFlight => spelling!(batch "MessageNotInflight", 400),
            Self::EmptyBatch => spelling!(batch "EmptyBatchRequest", 400),
            Self::TooManyEntries(_) => spelling!(batch "TooManyEntriesInBatchRequest", 400),
            Self::IdsNotDistinct(_) => spelling!(batch "BatchEntryIdsNotDistinct", 400),
            Self::InvalidEntryId => spelling!(batch "InvalidBatchEntryId", 400),
            Self::BatchTooLong(_) => spelling!(batch "BatchRequestTooLong", 400),
            Self::PurgeInProgress(_) => spelling!(batch "PurgeQueueInProgress", 403),
            Self::Unsupported(_) => spelling!(batch "UnsupportedOperation", 400),
            Self::NoSuchResource(_) => {
                spelling!(sqs "ResourceNotFoundException", "ResourceNotFoundException", 404)
            }
            Self::UnknownAction(_) => {
                spelling!(common "UnknownOperationException", "InvalidAction", 400)
            }
            Self::Malformed => {
                spelling!(common "SerializationException", "MalformedQueryString", 400)
            }
            Self::Storage(_) | Self::Stopped => {
                spelling!(common "InternalFailure", "InternalError", 500)
            }
        }
    }
}

/// "Value … for parameter … is invalid. Reason: …", SQS's form for a parameter out of range.
pub(crate) fn invalid_value(
    value: impl std::fmt::Display,
    parameter: &str,
    reason: &str,
) -> QueueError {
    QueueError::InvalidParameter(format!(
        "Value {value} for parameter {parameter} is invalid. Reason: {reason}"
    ))
}
