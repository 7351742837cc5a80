//! How a queue is mapped to a function: what Lambda takes.

use std::time::Duration;

/// The most messages of a batch, as in Lambda.
const BATCH_SIZE_MAX: usize = 10_000;
/// A batch over this size needs a window, as in Lambda.
const BATCH_SIZE_MAX_WITHOUT_WINDOW: usize = 10;
/// The longest batching window, as in Lambda.
pub(super) const WINDOW_MAX: Duration = Duration::from_secs(300);

/// How a queue is mapped to a function.
#[derive(Debug, Clone)]
pub struct MappingSettings {
    pub(super) queue: String,
    pub(super) batch_size: usize,
    pub(super) window: Duration,
    pub(super) concurrency_max: usize,
}

/// A setting that Lambda refuses too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMapping {
    /// The batch size is out of bounds.
    #[error("the batch size is from 1 to {BATCH_SIZE_MAX}")]
    BatchSize,
    /// The window is too long.
    #[error("the batching window is from 0 to {} s", WINDOW_MAX.as_secs())]
    Window,
    /// A large batch without a window.
    #[error("a batch size over {BATCH_SIZE_MAX_WITHOUT_WINDOW} needs a window of at least 1 s")]
    NoWindow,
    /// Nothing could ever be invoked.
    #[error("the maximum concurrency is at least 1")]
    Concurrency,
}

impl MappingSettings {
    /// Batches of up to `batch_size` messages, gathered for as long as `window` (zero: what one
    /// receive gave), with at most `concurrency_max` invocations under way.
    ///
    /// # Errors
    /// [`InvalidMapping`] for what Lambda refuses. It also refuses a maximum concurrency of 1,
    /// which is useful on one machine.
    pub fn new(
        queue: String,
        batch_size: usize,
        window: Duration,
        concurrency_max: usize,
    ) -> Result<Self, InvalidMapping> {
        if !(1..=BATCH_SIZE_MAX).contains(&batch_size) {
            return Err(InvalidMapping::BatchSize);
        }
        if window > WINDOW_MAX {
            return Err(InvalidMapping::Window);
        }
        if batch_size > BATCH_SIZE_MAX_WITHOUT_WINDOW && window < Duration::from_secs(1) {
            return Err(InvalidMapping::NoWindow);
        }
        if concurrency_max == 0 {
            return Err(InvalidMapping::Concurrency);
        }
        Ok(Self { queue, batch_size, window, concurrency_max })
    }
}
