//! The whole Remit pipeline on one machine: `cargo local`.
//!
//! - [`cli`]: flags, what is printed, Ctrl-C.
//! - [`pipeline`]: everything below, started in order and stopped in order.
//! - [`gateway`]: the first door, an API Gateway driven by the OpenAPI document. **A new endpoint**
//!   needs nothing here unless its integration is of a new kind.
//! - [`docs`]: the API's page, on which it can be tried.
//! - [`tokens`]: the user pool's place, an issuer of access tokens.
//! - [`queue`]: the second door, an SQS on SQLite.
//! - [`functions`]: the third door, the functions as real processes behind Lambda's Runtime API, and
//!   the event source mapping.
//! - [`table`]: a DynamoDB on SQLite.
//! - [`faults`]: what goes wrong at the edges, where it was asked for.
//! - [`live`]: the counters on the terminal.
//!
//! Nothing here restates what the document or a function says, listens on anything but loopback, or
//! forgets what it has accepted when it is killed.

pub mod cli;
pub mod docs;
pub mod faults;
pub mod live;
pub mod pipeline;
pub mod table;

pub use cli::main;
