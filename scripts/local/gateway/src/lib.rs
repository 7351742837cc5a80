//! An API Gateway on this machine: the OpenAPI document says what it does, and it refuses to start on
//! anything in there that it does not know. A payment that it accepts has a message id.
//!
//! - [`Gateway`] (`gateway`): every check in API Gateway's order, then the integration.
//! - `document`: the document, read into types.
//! - `route`: paths and parameters.
//! - `authorizer`, `validation`, `rate`: the checks, in this order.
//! - `integration`: the call to a queue and the meaning of its answers; `proxy`: the call to a function.
//! - `rejection`: why a request got no further; `gateway_responses`: what the document answers then.
//! - `template`: the mapping templates; `context`: the values that they can use.
//! - `server`: HTTP with bounds, for this and any other router.
//! - [`tokens`]: the user pool's place, an issuer of access tokens.
//!
//! It knows neither the queue nor the functions: it is given a router and closures. What a request holds
//! leaves it for these, and is never logged. Every 401 looks the same from outside; the log says what was
//! wrong with the token, and never the token.
//!
//! It differs from AWS in two ways. There is no firewall: a body over 8 KiB, which the firewall refuses
//! there, is refused here by the gateway, with the same 413. And how API Gateway escapes what it repeats in
//! a 400 can be seen only there; here the answer is JSON whatever a body holds.

pub use gateway::{Gateway, Options};
pub use proxy::{Functions, Invoke, NoAnswer, unanswering};
pub use server::serve;

mod gateway;

mod document;

mod authorizer;
mod rate;
mod route;
mod validation;

mod integration;
mod proxy;

mod gateway_responses;
mod rejection;
mod response;

mod context;
mod template;

mod server;

pub mod tokens;

#[cfg(test)]
mod tests;
