//! What one user's flood does to another user's payment, and how a message stays in its group.

use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use bench::fair;
use indicatif::ProgressBar;
use libtest_mimic::Trial;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Command;
use uuid::Uuid;

use super::{submit_all, trials};
use crate::stack::{Stack, dead_letter, until};

/// Messages of a batch, the default.
const BATCH: usize = 10;

/// Payments of the flood, sent so many at once. A flood of 100,000 takes the same way through the
/// queue (`scripts/local/queue/tests/fair.rs` sends one); it would only take the story longer.
const FLOOD: usize = 300;
const AT_ONCE: usize = 50;

pub(crate) fn all() -> Vec<Trial> {
    trials![
        a_users_flood_delays_another_users_payment_by_no_more_than_a_batch,
        another_users_payments_do_not_wait_for_a_flood_at_full_speed,
        a_message_stays_in_its_users_group_when_it_dies_and_when_it_is_sent_back,
    ]
}

async fn a_users_flood_delays_another_users_payment_by_no_more_than_a_batch() {
    let stack = Stack::start_with(&["--max-concurrency", "1"]).await;
    let function = stack.function_processes()[0];
    // With a batch in its hands it stands still until everything has been submitted.
    stack.signal(function, Signal::STOP);
    let flood: Vec<Value> = (0..FLOOD).map(|_| stack.payment()).collect();
    for some in flood.chunks(AT_ONCE) {
        submit_all(&stack, some).await;
    }
    let user = Uuid::new_v4().to_string();
    let mut payment = stack.payment();
    payment["userId"] = json!(user);
    let token = stack.token(&["--user", &user]).await;
    let answer = stack.put(&token, payment.to_string()).await;
    let accepted: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(accepted["status"], "accepted", "{accepted}");
    let in_flight = QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
    let in_hand = stack.queue_count(in_flight).await;
    assert!((1..=BATCH).contains(&in_hand), "{in_hand} are in hand, which is not one batch");
    stack.signal(function, Signal::CONT);
    stack.stored(&payment).await;
    stack.drained().await;
    assert_eq!(stack.stored_count().await, FLOOD + 1);

    let logs = stack.logs();
    let lines = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut requests = lines.filter(|line| line["message"] == "record");
    let place = requests.position(|line| line["requestId"] == accepted["requestId"]);
    // After the batch that was in hand it is in the next one.
    assert!(place.is_some_and(|place| place < 2 * BATCH), "{place:?} of {FLOOD}");
}

/// The smaller sister of `cargo load fair`.
async fn another_users_payments_do_not_wait_for_a_flood_at_full_speed() {
    let found = fair::run(2_000, &ProgressBar::hidden()).await;
    let lines = found.unwrap_or_else(|error| panic!("{error:#}"));
    println!("{}", lines.join("\n"));
}

async fn a_message_stays_in_its_users_group_when_it_dies_and_when_it_is_sent_back() {
    let stack = Stack::start_with(&["--max-receive-count", "1"]).await;
    stack.break_table().await;
    stack.submit(&stack.payment()).await;
    // Sent back, it dies again: the function passes on the group that it got from the main queue.
    for redrives in 0..2 {
        let receive = || {
            stack
                .sqs
                .receive_message()
                .queue_url(stack.at("deadLetterQueueUrl"))
                .message_attribute_names("All")
                .message_system_attribute_names(MessageSystemAttributeName::All)
                .visibility_timeout(0)
                .send()
        };
        let letter = until("it is dead", || async {
            let letter = receive().await.unwrap().messages.unwrap_or_default().pop()?;
            (dead_letter(&letter)["redriveCount"] == redrives).then_some(letter)
        })
        .await;
        let attributes = letter.attributes.unwrap();
        let group = &attributes[&MessageSystemAttributeName::MessageGroupId];
        assert_eq!(group, stack.at("userId"), "after {redrives} re-drives");
        let redriven = Command::new(std::env::current_exe().unwrap())
            .args([crate::OPS, "dlq", "redrive", "--no-follow", "--yes", "--local", "--data-dir"])
            .arg(stack.data_dir())
            .output()
            .await
            .unwrap();
        assert!(redriven.status.success(), "{redriven:?}");
    }
}
