//! What the caller of a function and the routes of its process share: the invocation offered next, the one
//! under way, and how far the process has come.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::invoke_error::{ErrorReport, InvokeError};

/// An invocation on its way to the process.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) request_id: String,
    pub(super) deadline_ms: u128,
    pub(super) payload: Bytes,
    pub(super) answer: Answer,
}

pub(super) type Answer = oneshot::Sender<Result<Bytes, InvokeError>>;

/// What the caller and the routes share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) function_arn: String,
    pub(super) offered: tokio::sync::Mutex<mpsc::Receiver<Offer>>,
    /// The invocation the process is working on.
    pub(super) open: Mutex<Option<(String, Answer)>>,
    pub(super) init: watch::Sender<Init>,
}

/// How far the process has come.
#[derive(Debug)]
pub(super) enum Init {
    /// The process has started and has not asked for work yet.
    Pending,
    /// The process asked for work.
    Ready,
    /// The process said that it cannot start.
    Failed(ErrorReport),
}

impl Shared {
    pub(super) fn take_open(&self, request_id: &str) -> Option<Answer> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.take_if(|(id, _)| id == request_id).map(|(_, answer)| answer)
    }

    pub(super) fn set_open(&self, request_id: String, answer: Answer) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some((request_id, answer));
    }

    pub(super) fn is_working(&self) -> bool {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// Milliseconds since 1970.
pub(super) fn epoch_ms(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}
