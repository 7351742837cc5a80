//! The whole Remit pipeline on one machine: `cargo local`.
//!
//! This crate starts the parts that crates beside it are: `gateway`, `queue` and `runtime`. In reading order:
//!
//! - [`cli`]: the command line, what is printed, Ctrl-C; [`settings`]: the flags of a pipeline.
//! - [`functions`]: the table of all functions. **A new function** is an entry there.
//! - [`pipeline`]: everything started in order and stopped in order.
//! - [`api`]: the gateway on the OpenAPI document, with this machine's names in it.
//! - [`docs`]: the API's page, on which it can be tried.
//! - [`table`]: a DynamoDB on SQLite.
//! - [`faults`]: what goes wrong at the edges, where it was asked for.
//! - [`live`]: the counters on the terminal.
//! - [`data_dir`], [`servers`]: the files, and the ports.
//!
//! Nothing here restates what the document or a function says, listens on anything but loopback, or
//! forgets what it has accepted when it is killed.

pub mod cli;
pub mod settings;

pub mod functions;
pub mod pipeline;

pub mod api;
pub mod docs;
pub mod faults;
pub mod live;
pub mod table;

pub mod data_dir;
pub mod servers;

pub use cli::main;
