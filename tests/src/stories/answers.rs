//! What a client is told after its 200: about this very submission, whatever became of the others.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::trials;
use crate::stack::{Accepted, Stack, text};

pub(super) fn all() -> Vec<Trial> {
    trials![
        a_wait_is_for_a_submission,
        every_repetition_is_answered_and_only_other_bytes_are_kept,
        a_malformed_body_is_found_under_its_payment,
        a_held_submission_stays_visible_beside_the_stored_one,
        a_message_of_an_unknown_kind_is_held_and_never_refused,
    ]
}

impl Stack {
    /// What the API says of one submission, as soon as anything is known of it.
    async fn told(&self, payment_id: &Value, submission: &Accepted) -> Value {
        let url = format!("{}/payments/{}", self.at("api"), payment_id.as_str().unwrap());
        let query = [("requestId", submission.request_id.as_str()), ("wait", "25")];
        let ask = self.http().get(url).query(&query).bearer_auth(self.at("token"));
        let answer = ask.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(answer["requestId"], submission.request_id, "{answer}");
        assert_eq!(answer["otherAttempts"], Value::Null);
        answer
    }
}

async fn a_wait_is_for_a_submission() {
    let stack = Stack::start_with(&["--batching-window", "1"]).await;
    let mut payment = stack.payment();
    payment["amount"] = json!("10.505");
    let refused = stack.submit(&payment).await;
    stack.record_of(&refused.request_id).await;
    payment["amount"] = json!("10.50");
    let stored = stack.submit(&payment).await;
    // The window is still open, so this waits, although a refusal is known of the payment.
    let id = &payment["paymentId"];
    assert_eq!(stack.told(id, &stored).await["status"], "stored");
    let told = stack.told(id, &refused).await;
    assert_eq!((&told["status"], &told["fields"]), (&json!("refused"), &json!(["amount"])));
}

async fn every_repetition_is_answered_and_only_other_bytes_are_kept() {
    let stack = Stack::start().await;
    let payment = stack.payment();
    stack.submit(&payment).await;
    stack.stored(&payment).await;
    let respelled = payment.to_string().replace("10.50", "10.5");
    let same = stack.submit(&payment).await;
    let other = stack.submit_bytes(&respelled).await;
    for (submission, body) in [(&same, None), (&other, Some(respelled))] {
        let told = stack.told(&payment["paymentId"], submission).await;
        assert_eq!(told["status"], "duplicate");
        let record = stack.record_of(&submission.request_id).await;
        assert_eq!(record.get("body").map(|body| body.as_s().unwrap()), body.as_ref());
    }
}

async fn a_malformed_body_is_found_under_its_payment() {
    let stack = Stack::start().await;
    let payment = stack.payment();
    let twice = payment.to_string().replacen('{', r#"{"amount":"1","#, 1);
    let filed = stack.submit_bytes(&twice).await;
    let told = stack.told(&payment["paymentId"], &filed).await;
    assert_eq!((&told["status"], &told["reason"]), (&json!("refused"), &json!("malformed")));
    let record = stack.record_of(&filed.request_id).await;
    assert_eq!(text(&record, "paymentId"), payment["paymentId"]);
    // Where two ids stand in the body, it is found by its request.
    let doubtful = payment.to_string();
    let doubtful =
        doubtful.replacen('{', &format!(r#"{{"paymentId":{},"#, payment["paymentId"]), 1);
    let unfiled = stack.submit_bytes(&doubtful).await;
    let told = stack.told(&payment["paymentId"], &unfiled).await;
    assert_eq!((&told["status"], &told["paymentId"]), (&json!("refused"), &Value::Null));
}

async fn a_held_submission_stays_visible_beside_the_stored_one() {
    let stack = Stack::start_with(&["--max-receive-count", "1"]).await;
    let payment = stack.payment();
    let broken = stack.break_table().await;
    let held = stack.submit(&payment).await;
    stack.record_of(&held.request_id).await;
    stack.mend(broken).await;
    let stored = stack.submit(&payment).await;
    let id = &payment["paymentId"];
    assert_eq!(stack.told(id, &stored).await["status"], "stored");
    assert_eq!(stack.told(id, &held).await["status"], "held");
    stack.move_dead_letters_back().await;
    stack.drained().await;
    assert_eq!(stack.told(id, &held).await["status"], "duplicate");
}

async fn a_message_of_an_unknown_kind_is_held_and_never_refused() {
    let stack = Stack::start_with(&["--max-receive-count", "1"]).await;
    let user = stack.at("userId").to_owned();
    let message = stack.send("{}", &[("sub", &user), ("kind", "refund")]).await;
    let letter = stack.dead_letters(1).await.remove(0);
    assert_eq!(letter.body(), Some("{}"));
    let attributes = letter.message_attributes().unwrap();
    assert_eq!(attributes["kind"].string_value(), Some("refund"));
    let reason: Value =
        serde_json::from_str(attributes["deadLetter"].string_value().unwrap()).unwrap();
    assert_eq!(reason["reason"], "unknown_kind");
    assert_eq!(text(&stack.record_of(&message).await, "kind"), "held");
}
