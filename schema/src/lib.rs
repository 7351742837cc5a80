//! The contract: what a payment is, what travels with it, when two are the same, why one is refused,
//! and the OpenAPI document that says all this to clients and to the gateway.
//!
//! - [`payment`]: the payment, parsed. **A new property** goes here.
//! - [`text`]: the strings it is made of, a type for each rule. **A new rule** goes here, or, when it
//!   concerns several properties, into `Payment::parse`.
//! - `currency`: the currencies that can be paid in. **A new edition of ISO 4217** goes here.
//! - [`json`]: the strict reader below both.
//! - [`refusal`]: why a payment is refused.
//! - [`canonical`]: when two bodies are the same payment.
//! - [`envelope`]: the message attributes.
//! - [`answer`], [`document`]: the API's answers and its document. **A new endpoint** starts in
//!   `payment-api.yaml`; the schemas in it are generated from these types by `tests/document.rs`.
//! - [`timestamp`]: how times are written.
//!
//! This crate does no I/O, reads no clock, knows no AWS type and nothing asynchronous.

pub mod payment;

pub mod text;

mod currency;

pub mod json;

pub mod refusal;

pub mod canonical;

pub mod envelope;

pub mod answer;

pub mod document;

pub mod timestamp;
