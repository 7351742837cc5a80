//! The operator's tool, `cargo ops`. What it can do so far is the dead-letter workbench, `cargo ops dlq` or
//! `cargo dlq` for short: what on-call opens when the alarm for dead letters goes off.
//!
//! - [`cli`]: the command line and its exit codes.
//! - [`dlq`]: the dead-letter workbench, with a map of its own.
//!
//! What every command needs:
//! - [`place`]: where the queues and tables are: on this machine, or in an AWS account.
//! - [`queue`]: what the calls of SQS have in common.
//! - [`audit`]: the audit log, in which stands what operators did.
//! - `terminal`: what people see.
//! - [`interrupt`]: stopping by Ctrl-C.
//! - [`error`]: how a command ends.
//! - `clock`: points in time.
//!
//! No command edits the body of a payment, and none prints what a payment says unless told to reveal it.
//! None deletes a message before it is durable elsewhere, in the main queue or in an archive. None changes
//! anything before the audit log says so.

pub mod audit;
pub mod cli;
mod clock;
pub mod dlq;
pub mod error;
pub mod interrupt;
pub mod place;
pub mod queue;
mod terminal;

pub use cli::main;
