//! An SQS on SQLite. A message survives kill -9 of the process, and a million waiting messages slow nothing
//! down.
//!
//! - [`Queues`] (`queues`): the queues of one pipeline, in this process.
//! - `protocol`: the same over HTTP. SQS's JSON and query protocols are both turned into one JSON form.
//! - `operations`: the operations of SQS on that form; `operations/input` reads their parameters.
//! - `message`, `attributes`, `handle`, `error`: SQS's rules for each of these.
//! - `worker`: the threads that own a database connection, and run many calls in one transaction.
//! - `store`: queues, messages and move tasks in SQLite, synchronous; a file for each kind of change.
//! - `fair`: whose messages have to wait for others.
//!
//! It knows no other crate of this workspace, and no payment. It never answers before the change is in the
//! operating system's hands, and it never polls: a waiter is woken by the commit, or by the clock, that makes
//! a message visible.

pub use error::QueueError;
pub use message::{AttributeValue, Message, MessageAttribute, Received};
pub use queues::Queues;
pub use store::Clock;
pub use store::counts::Counts;

mod queues;

mod operations;
mod protocol;

mod attributes;
mod error;
mod handle;
mod message;

mod fair;
mod store;
mod worker;
