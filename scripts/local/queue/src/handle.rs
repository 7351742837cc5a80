//! Receipt handles: opaque to clients, checkable without a look-up.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use md5::{Digest as _, Md5};

use crate::error::QueueError;

/// One receive of one message: what a client proves with a receipt handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) queue: i64,
    pub(crate) number: i64,
    pub(crate) receives: i64,
}

impl Handle {
    /// Reads a handle. A text that no queue of this server issued is refused.
    pub(crate) fn parse(text: &str) -> Result<Self, QueueError> {
        let invalid = || QueueError::InvalidHandle(text.to_owned());
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
        let (fields, sum) = bytes.split_at_checked(24).ok_or_else(invalid)?;
        if sum != checksum(fields) {
            return Err(invalid());
        }
        let ([queue, number, receives], []) = fields.as_chunks::<8>() else {
            return Err(invalid());
        };
        Ok(Self {
            queue: i64::from_be_bytes(*queue),
            number: i64::from_be_bytes(*number),
            receives: i64::from_be_bytes(*receives),
        })
    }

    /// Refuses a handle that another queue than the one of this id issued. One that was issued before
    /// the message moved to a dead-letter queue passes: it is merely stale.
    pub(crate) fn check(&self, queue: i64) -> Result<(), QueueError> {
        match self.queue == queue {
            true => Ok(()),
            false => Err(QueueError::InvalidHandle(self.to_string())),
        }
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [self.queue, self.number, self.receives].map(i64::to_be_bytes).concat();
        bytes.extend(checksum(&bytes));
        formatter.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// Tells a handle from garbage. It guards against mistakes, not against forgers.
fn checksum(fields: &[u8]) -> [u8; 6] {
    let digest = Md5::digest(fields);
    std::array::from_fn(|index| digest[index])
}
