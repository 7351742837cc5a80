//! The stories, by who tells them.

mod answers;
mod command;
mod example;
mod failure;
mod fairness;
mod network;
mod query;
mod restart;
mod submission;
mod workbench;

use std::collections::HashSet;

use aws_sdk_sqs::types::Message;
use futures::future::join_all;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::stack::{Accepted, Stack, text};

/// Makes tests of stories, each named as it is.
macro_rules! trials {
    ($($story:ident),* $(,)?) => {
        vec![$(crate::trial(concat!(module_path!(), "::", stringify!($story)), $story)),*]
    };
}
use trials;

/// The seed of a random story: a new one, or that of `REMIT_SEED`, which repeats a run.
fn seed() -> u64 {
    let given = std::env::var("REMIT_SEED").ok();
    given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap())
}

/// Payments of which one in ten is invalid, and one in ten says something else under the id of another.
fn mixed_payments(stack: &Stack, count: usize) -> Vec<Value> {
    let mut payments: Vec<Value> = (0..count).map(|_| stack.payment()).collect();
    for index in (5..count - 1).step_by(10) {
        payments[index]["amount"] = json!("0");
        payments[index + 1] = payments[index - 1].clone();
        payments[index + 1]["amount"] = json!("11.00");
    }
    payments
}

/// Submits payments side by side.
async fn submit_all(stack: &Stack, payments: &[Value]) -> Vec<Accepted> {
    join_all(payments.iter().map(|payment| stack.submit(payment))).await
}

/// Waits until the queue is empty; then each submission is stored as it was sent, or on record, or dead.
/// Returns the dead letters.
async fn every_one_has_its_outcome(
    stack: &Stack,
    payments: &[Value],
    accepted: &[Accepted],
    seed: u64,
) -> Vec<Message> {
    stack.drained().await;
    let letters = stack.all_dead_letters().await;
    let dead: HashSet<&str> = letters.iter().filter_map(request_id).collect();
    let records: HashSet<String> =
        stack.records().await.iter().map(|record| text(record, "requestId").to_owned()).collect();
    assert_eq!(payments.len(), accepted.len());
    for (payment, Accepted { request_id, .. }) in payments.iter().zip(accepted) {
        let item = stack.item(payment).await;
        let stored = item.filter(|item| text(item, "_requestId") == request_id);
        if let Some(item) = &stored {
            for (name, value) in payment.as_object().unwrap() {
                assert_eq!(text(item, name), value, "REMIT_SEED={seed}: {request_id} is altered");
            }
        }
        let has_outcome =
            stored.is_some() || records.contains(request_id) || dead.contains(request_id.as_str());
        assert!(has_outcome, "REMIT_SEED={seed}: {request_id} is lost");
    }
    letters
}

fn request_id(letter: &Message) -> Option<&str> {
    letter.message_attributes()?.get("requestId")?.string_value()
}

/// Every story.
pub(crate) fn all() -> Vec<Trial> {
    let rooms = [
        submission::all(),
        answers::all(),
        query::all(),
        example::all(),
        failure::all(),
        fairness::all(),
        network::all(),
        restart::all(),
        command::all(),
        workbench::all(),
    ];
    rooms.into_iter().flatten().collect()
}
