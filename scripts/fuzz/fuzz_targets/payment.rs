//! Any body: it is a payment or refused, and a payment is the same as itself in its canonical form.

#![no_main]

use libfuzzer_sys::fuzz_target;
use schema::payment::{Payment, readable_payment_id};
use schema::{canonical, json};

/// When the body was accepted: 2026-11-20T12:00:00Z.
const ACCEPTED_AT_MS: i64 = 1_795_176_000_000;

fuzz_target!(|body: &str| {
    let payment_id = readable_payment_id(body);
    match Payment::parse(body, ACCEPTED_AT_MS) {
        Ok(payment) => {
            assert!(payment_id.as_ref() == Some(payment.payment_id()));
            assert!(payment.amount_minor() > 0);
            let form = canonical::form(payment.body());
            assert!(canonical::form(&form) == form);
            assert!(canonical::differences(payment.body(), &form).is_empty());
            assert!(json::stored_bytes(payment.body()) <= 400 * 1024);
        }
        Err(refusal) => assert!(refusal.to_string().len() < 4096),
    }
});
