//! Load on a running pipeline: `cargo load`.
//!
//! - [`cli`]: flags and subcommands.
//! - [`measure`]: a run: the bare baseline, the load, the account.
//! - [`reads`]: what the answers about payments take.
//! - [`fair`]: one user's flood beside another user's payments.
//! - [`kills`]: a run in which functions and the whole pipeline are killed.
//! - [`load`]: open and closed loops of submissions.
//! - [`account`]: what became of everything that was accepted.
//! - [`pipeline`]: the pipeline under load, found or started.
//! - [`client`]: HTTP on loopback: submissions, and calls of the table and the queues.
//! - [`report`]: the table and the JSON.
//! - [`function`]: the packaged function by itself, beside its peers, and its instructions.
//!
//! A latency is measured from the moment at which a submission was due, not from when the client came
//! round to it: a pipeline that stalls cannot hide it. Nothing here knows the pipeline from inside; it
//! sees what a client and an operator see.

pub mod account;
pub mod cli;
pub mod client;
pub mod fair;
pub mod function;
pub mod kills;
pub mod load;
pub mod measure;
pub mod pipeline;
pub mod reads;
pub mod report;

pub use cli::main;
