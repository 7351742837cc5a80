//! Stopping by Ctrl-C without leaving anything half done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::error::Error;
use crate::terminal::note;

/// How often a pause looks whether it is interrupted.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Set once, by Ctrl-C. Whatever takes long looks at it between two steps.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// One that Ctrl-C and SIGTERM set. The first signal asks to stop between two steps. A second one
    /// ends the process at once, which loses nothing either.
    ///
    /// # Errors
    /// The system does not let this process listen to its signals.
    pub fn by_signals() -> Result<Interrupt, Error> {
        let interrupt = Interrupt::default();
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let mut signals =
                signal(kind).map_err(|error| Error::configuration(error.to_string()))?;
            let interrupt = interrupt.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    if interrupt.is_set() {
                        std::process::exit(1);
                    }
                    interrupt.set();
                    note("stopping: finishing what is under way, releasing the rest …");
                }
            });
        }
        Ok(interrupt)
    }

    /// Asks to stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether to stop.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits for so long, or until it is set.
    pub async fn pause(&self, pause: Duration) {
        let end = Instant::now() + pause;
        while Instant::now() < end && !self.is_set() {
            tokio::time::sleep(LOOK_EVERY.min(end - Instant::now())).await;
        }
    }
}
