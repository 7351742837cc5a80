//! The log: one JSON object a line, on standard output.

use tracing_subscriber::EnvFilter;

/// Begins to write it. `RUST_LOG` chooses what; without it everything from `info` on.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A test may start it again; the first start stays.
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .try_init();
}
