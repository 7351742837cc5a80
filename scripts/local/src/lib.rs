//! The whole Remit pipeline on one machine.
//!
//! - [`functions`]: child processes behind the Lambda Runtime API, and the event source mapping.
//! - [`queue`]: an SQS on SQLite.
//! - [`table`]: a DynamoDB on SQLite.

pub mod functions;
pub mod queue;
pub mod table;
