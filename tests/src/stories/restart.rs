//! What survives when processes are killed.

use aws_sdk_sqs::types::QueueAttributeName;
use bench::kills::{self, Kills};
use indicatif::ProgressBar;
use libtest_mimic::Trial;
use rustix::process::Signal;
use serde_json::Value;

use super::{seed, submit_all, trials};
use crate::stack::{Stack, until};

pub(crate) fn all() -> Vec<Trial> {
    trials![
        a_function_killed_in_the_middle_of_a_batch_loses_nothing,
        a_function_killed_again_and_again_loses_nothing,
        a_pipeline_killed_after_accepting_loses_nothing,
        a_pipeline_stopped_and_started_again_holds_what_it_held,
        kills_of_functions_and_of_the_whole_pipeline_under_load_lose_nothing,
    ]
}

async fn submit(stack: &Stack, count: usize) -> Vec<Value> {
    let payments: Vec<Value> = (0..count).map(|_| stack.payment()).collect();
    submit_all(stack, &payments).await;
    payments
}

async fn all_stored_once(stack: &Stack, payments: &[Value]) {
    for payment in payments {
        stack.stored(payment).await;
    }
    stack.drained().await;
    assert_eq!(stack.stored_count().await, payments.len());
    assert_eq!(stack.count_of("deadLetterQueueUrl", visible()).await, 0);
    assert!(stack.records().await.is_empty());
}

fn visible() -> QueueAttributeName {
    QueueAttributeName::ApproximateNumberOfMessages
}

async fn a_function_killed_in_the_middle_of_a_batch_loses_nothing() {
    let flags = ["--max-concurrency", "1", "--visibility-timeout", "2"];
    let stack = Stack::start_with(&flags).await;
    let function = stack.function_processes()[0];
    stack.signal(function, Signal::STOP);
    let payments = submit(&stack, 10).await;
    until("a batch is in the stopped function's hands", || async {
        let in_flight = QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
        (stack.queue_count(in_flight).await > 0).then_some(())
    })
    .await;
    assert_eq!(stack.stored_count().await, 0);
    stack.signal(function, Signal::KILL);
    all_stored_once(&stack, &payments).await;
    assert_ne!(stack.function_processes(), [function]);
    assert!(stack.logs().contains(r#""receiveCount":2"#), "a batch was delivered again");
}

async fn a_function_killed_again_and_again_loses_nothing() {
    let flags = ["--visibility-timeout", "1", "--max-receive-count", "1000"];
    let stack = Stack::start_with(&flags).await;
    let submitting = async {
        let mut payments = Vec::new();
        for _ in 0..10 {
            payments.extend(submit(&stack, 30).await);
        }
        payments
    };
    let killing = async {
        for kill in 1..=5 {
            until("the next payments are stored", || async {
                (stack.stored_count().await >= kill * 40).then_some(())
            })
            .await;
            for function in stack.function_processes() {
                stack.signal(function, Signal::KILL);
            }
        }
    };
    let (payments, ()) = futures::future::join(submitting, killing).await;
    all_stored_once(&stack, &payments).await;
}

async fn a_pipeline_killed_after_accepting_loses_nothing() {
    let flags = ["--visibility-timeout", "2"];
    let stack = Stack::start_with(&flags).await;
    for function in stack.function_processes() {
        stack.signal(function, Signal::STOP);
    }
    let payments = submit(&stack, 50).await;
    assert_eq!(stack.stored_count().await, 0);
    let stack = stack.kill_and_restart().await;
    all_stored_once(&stack, &payments).await;
}

async fn a_pipeline_stopped_and_started_again_holds_what_it_held() {
    let mut stack = Stack::start_with(&["--max-receive-count", "1"]).await;
    let payment = stack.payment();
    stack.submit(&payment).await;
    let item = stack.stored(&payment).await;
    stack.send("unverified", &[]).await;
    until("it is dead", || async {
        (stack.count_of("deadLetterQueueUrl", visible()).await == 1).then_some(())
    })
    .await;
    let token = stack.at("token").to_owned();
    assert!(stack.interrupt().await, "it ends well");
    let stack = stack.restart_with(&[]).await;
    assert_eq!(stack.stored(&payment).await, item);
    assert_eq!(stack.dead_letters(1).await[0].body(), Some("unverified"));
    let again = stack.put(&token, payment.to_string()).await;
    assert_eq!(again.status(), 200, "tokens outlive a restart");
    let stack = {
        let mut stack = stack;
        assert!(stack.interrupt().await);
        stack.restart_with(&["--fresh"]).await
    };
    assert_eq!(stack.stored_count().await, 0);
    assert_eq!(stack.count_of("deadLetterQueueUrl", visible()).await, 0);
}

/// The smaller sister of `cargo load kills`.
async fn kills_of_functions_and_of_the_whole_pipeline_under_load_lose_nothing() {
    let seed = seed();
    let kills = Kills { count: 1_000, functions: 10, pipelines: 2, seed };
    let account = kills::run(kills, &ProgressBar::hidden()).await;
    let account = account.unwrap_or_else(|error| panic!("REMIT_SEED={seed}: {error:#}"));
    // A client that got no answer sent its payment again; either submission may have stored it.
    assert_eq!(account.stored + account.duplicates, kills.count, "REMIT_SEED={seed}");
}
