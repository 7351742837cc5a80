//! What survives a bad network between the functions and what they write to.

use std::collections::HashSet;

use futures::future::join_all;
use libtest_mimic::Trial;

use super::{every_one_has_its_outcome, mixed_payments, seed, submit_all, trials};
use crate::proxy::{Harm, Proxy, Weather};
use crate::stack::{Stack, until};

pub(crate) fn all() -> Vec<Trial> {
    trials![a_bad_network_under_load_loses_nothing]
}

/// Between function and tables, and between function and queues: connections that break before the
/// request or after the work, slow ones, half-closed and silent ones, and for a time none at all.
async fn a_bad_network_under_load_loses_nothing() {
    let seed = seed();
    let (tables, queues) = (Proxy::start(seed).await, Proxy::start(!seed).await);
    let (tables_url, queues_url) = (tables.url(), queues.url());
    let behind = ["--functions-table-url", &tables_url, "--functions-queue-url", &queues_url];
    let patience = ["--visibility-timeout", "3", "--max-receive-count", "3"];
    let flags = [&behind[..], &patience, &["--max-concurrency", "4"]].concat();
    let stack = Stack::start_with(&flags).await;
    tables.lead_to(stack.at("table"));
    queues.lead_to(stack.at("queue"));

    let payments = mixed_payments(&stack, 300);
    let (mut accepted, mut unverified) = (Vec::new(), HashSet::new());
    for (part, payments) in payments.chunks(30).enumerate() {
        let weather = if part % 5 == 3 { Weather::Down } else { Weather::Rough };
        tables.weather(weather);
        queues.weather(weather);
        accepted.extend(submit_all(&stack, payments).await);
        // These go to the dead-letter queue at once, through the other proxy.
        let part = (0..15).map(|index| format!("unverified {part} {index}"));
        let part: Vec<String> = part.collect();
        join_all(part.iter().map(|body| stack.send(body, &[]))).await;
        unverified.extend(part);
        until("most of them were tried", || async {
            let tried = stack.logs().matches(r#""outcome":"#).count();
            (tried > accepted.len()).then_some(())
        })
        .await;
    }
    tables.weather(Weather::Fine);
    queues.weather(Weather::Fine);
    for letter in every_one_has_its_outcome(&stack, &payments, &accepted, seed).await {
        unverified.remove(letter.body().unwrap());
    }
    assert!(unverified.is_empty(), "REMIT_SEED={seed}: {unverified:?} are lost");
    for (proxy, name) in [(&tables, "tables"), (&queues, "queues")] {
        let done = proxy.done();
        for harm in Harm::ALL {
            assert!(done.contains_key(&harm), "REMIT_SEED={seed}: {name}: {harm:?} in {done:?}");
        }
    }
}
