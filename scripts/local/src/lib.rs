//! The whole Remit pipeline on one machine.
//!
//! - [`gateway`]: an API Gateway, driven by the OpenAPI document.
//! - [`tokens`]: a user pool's place taken, the issuer of access tokens.
//! - [`queue`]: an SQS on SQLite.
//! - [`functions`]: child processes behind the Lambda Runtime API, and the event source mapping.
//! - [`table`]: a DynamoDB on SQLite.

pub mod functions;
pub mod gateway;
pub mod queue;
pub mod table;
pub mod tokens;
