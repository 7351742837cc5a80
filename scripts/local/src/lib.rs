//! The whole Remit pipeline on one machine.
//!
//! - [`queue`]: an SQS on SQLite.

pub mod queue;
