//! The whole Remit pipeline on one machine.
//!
//! - [`queue`]: an SQS on SQLite.
//! - [`table`]: a DynamoDB on SQLite.

pub mod queue;
pub mod table;
