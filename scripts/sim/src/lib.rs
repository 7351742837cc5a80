//! Breaks the record path a hundred thousand times before a customer does.
//!
//! The real code of `submit_payments::batch` runs against simulated tables and queues on a virtual
//! clock. One seed decides everything: what clients send, what fails, which process is killed where.
//!
//! - [`history`]: one history from its seed: clients, pollers of two versions, an operator, then peace.
//! - [`clients`]: what is submitted, and what must become of it.
//! - [`faults`]: what can go wrong. **A new fault** goes here.
//! - [`function`]: the function's edges into the world, with their faults.
//! - [`world`], [`queue`]: the tables and the queues.
//! - `checks`: the invariants. **A new invariant** goes here, with a sabotage that breaks it.
//! - [`tally`]: what a run has reached.
//! - `model`: the same protocol, small enough to be checked exhaustively.
//!
//! Nothing here decides what becomes of a record, waits for a real clock, or draws a number that does
//! not come from the seed.

mod checks;
pub mod clients;
pub mod faults;
pub mod function;
pub mod history;
#[cfg(test)]
mod model;
pub mod queue;
pub mod tally;
pub mod world;
