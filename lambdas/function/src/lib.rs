//! What every function is made of, whatever it does.
//!
//! - [`environment`], [`connection`]: its configuration, and how it reaches AWS.
//! - [`logs`], [`metrics`]: what it tells its operators.
//! - [`failure`]: why a call failed, and whether the same call may succeed later.
//! - A function behind a queue: [`settings`], [`invocation`]; [`batch`]: deadlines, isolation, the
//!   partial-batch response; [`queue`]: its messages, and what is asked of it; [`retry`]: what becomes of a
//!   message that is not done; [`dead_letter`]: what a message says that no further delivery can help.
//! - A function behind the gateway: [`proxy`]: requests and responses.
//!
//! Nothing here knows a payment or a table, or decides what becomes of a message.

pub mod batch;
pub mod connection;
pub mod dead_letter;
pub mod environment;
pub mod failure;
pub mod invocation;
pub mod logs;
pub mod metrics;
pub mod proxy;
pub mod queue;
pub mod retry;
pub mod settings;
