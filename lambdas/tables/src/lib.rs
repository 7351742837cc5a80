//! The tables, and the only crate that knows DynamoDB: what an item is, how it is written once and
//! never overwritten, and whether an error is worth another try.
//!
//! - [`PaymentsTable`]: the writes.
//! - [`direct`]: the first attempt of a put, past the SDK.
//! - [`query`]: the reads.
//! - [`item`]: payments as items, and back.
//! - [`record`]: the submissions that are not the stored one, as items.
//! - [`failure`]: what went wrong, and whether it may pass. **A new SDK error** goes here.
//!
//! Nothing here decides what becomes of a payment, updates an item, or deletes one.

pub mod direct;
pub mod failure;
pub mod item;
pub mod query;
pub mod record;
mod table;

pub use failure::Failure;
pub use item::{PaymentItem, Submission};
pub use query::{Listing, Page, Position};
pub use record::{Kind, Record};
pub use table::{ENDPOINT, PaymentsTable, Put, client};
