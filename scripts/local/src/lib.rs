//! The whole Remit pipeline on one machine.
//!
//! - [`functions`]: child processes behind the Lambda Runtime API, and the event source mapping.
//! - [`tokens`]: a user pool's place taken, the issuer of access tokens.
//! - [`queue`]: an SQS on SQLite.
//! - [`table`]: a DynamoDB on SQLite.

pub mod functions;
pub mod queue;
pub mod table;
pub mod tokens;
