//! Lambda on this machine: functions as real processes, and event source mappings that feed them from queues.
//!
//! - [`Function`] (`function`): the processes of one function, and its invocation.
//! - `process`: one child process, and what it writes.
//! - `runtime_api`: Lambda's Runtime API, one listener for each process.
//! - [`event_source`]: from a queue to a function and back, in batches that are acknowledged.
//!
//! Of the workspace it knows the queue's messages, and nothing else: no payment, no table, no function by
//! name. It never runs two invocations in one process at once, and never tells a queue that a message is
//! done unless the function says so.

pub use function::Function;
pub use invoke_error::{ErrorReport, InvokeError};
pub use process::{
    CrashAfter, FunctionSettings, Line, LineSink, LineStream, StartError, StartFailure,
    exit_when_parent_is_gone,
};

mod function;
mod invoke_error;
mod process;
mod runtime_api;

pub mod event_source;

mod backoff;
