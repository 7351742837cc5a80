//! What an operator sees.

use aws_sdk_sqs::types::MessageSystemAttributeName;
use futures::future::join_all;
use libtest_mimic::Trial;
use schema::refusal::Refusal;
use serde_json::{Value, json};
use tables::record::Because;
use tables::{Kind, PaymentsTable, Record, Submission};

use super::{every_one_has_its_outcome, mixed_payments, seed, submit_all, trials};
use crate::stack::{Stack, dead_letter, text, until};

pub(crate) fn all() -> Vec<Trial> {
    trials![
        a_failure_that_passes_ends_in_a_stored_payment,
        a_failure_that_stays_ends_in_the_dead_letter_queue_with_its_reason,
        a_dead_letter_sent_back_after_the_repair_is_stored,
        a_message_without_a_verified_subject_is_an_operators_business,
        one_poison_among_nine_good_payments_harms_none,
        a_record_gives_way_only_where_it_is_held_or_discarded,
        what_a_payment_says_never_reaches_a_log,
        every_accepted_payment_has_its_outcome_whichever_way_old_handles_go,
        every_accepted_payment_has_its_outcome_whatever_goes_wrong,
    ]
}

async fn a_failure_that_passes_ends_in_a_stored_payment() {
    // So many deliveries, a second apart, that the repair always comes in time.
    let stack = Stack::start_with(&["--retry-delay", "1", "--max-receive-count", "1000"]).await;
    let broken = stack.break_table().await;
    let payment = stack.payment();
    stack.submit(&payment).await;
    until("a delivery has failed", || async {
        let logs = stack.logs();
        (logs.contains(r#""outcome":"retry""#) && logs.contains("table_not_found")).then_some(())
    })
    .await;
    stack.mend(broken).await;
    stack.stored(&payment).await;
    stack.drained().await;
    assert!(stack.records().await.is_empty());
}

async fn a_failure_that_stays_ends_in_the_dead_letter_queue_with_its_reason() {
    let stack = Stack::start_with(&["--max-receive-count", "3"]).await;
    stack.break_table().await;
    let payment = stack.payment();
    let accepted = stack.submit(&payment).await;
    let letter = stack.dead_letters(1).await.remove(0);
    assert_eq!(letter.body(), Some(payment.to_string().as_str()));
    let reason = dead_letter(&letter);
    assert_eq!(reason["reason"], "table_not_found");
    assert_eq!((&reason["receiveCount"], &reason["redriveCount"]), (&json!(3), &json!(0)));
    assert_eq!(reason["originalMessageId"], accepted.message_id);
    let attributes = letter.message_attributes.as_ref().unwrap();
    let attribute = |name: &str| attributes[name].string_value().unwrap();
    assert_eq!(attribute("sub"), stack.at("userId"));
    assert_eq!(attribute("requestId"), accepted.request_id);
    assert_eq!(attribute("schemaVersion"), "1");
    let record = stack.record_of(&accepted.request_id).await;
    assert_eq!((text(&record, "kind"), text(&record, "reason")), ("held", "table_not_found"));
    stack.drained().await;
}

async fn a_dead_letter_sent_back_after_the_repair_is_stored() {
    let stack = Stack::start_with(&["--max-receive-count", "1"]).await;
    let broken = stack.break_table().await;
    let payment = stack.payment();
    let accepted = stack.submit(&payment).await;
    let letter = stack.dead_letters(1).await.remove(0);
    stack.mend(broken).await;
    // Twice: sending back twice equals sending back once.
    for _ in 0..2 {
        let send = stack.sqs.send_message().queue_url(stack.at("queueUrl"));
        let send = send.message_body(letter.body().unwrap());
        let attributes = letter.message_attributes.clone();
        send.set_message_attributes(attributes).send().await.unwrap();
    }
    let item = stack.stored(&payment).await;
    assert_eq!(text(&item, "_requestId"), accepted.request_id);
    assert_eq!(text(&item, "_messageId"), accepted.message_id, "the id that the client was told");
    stack.drained().await;
    assert_eq!(stack.stored_count().await, 1);
}

async fn a_message_without_a_verified_subject_is_an_operators_business() {
    let stack = Stack::start().await;
    let payment = stack.payment();
    let id = stack.send(&payment.to_string(), &[("requestId", "forged")]).await;
    let letter = stack.dead_letters(1).await.remove(0);
    assert_eq!(letter.body(), Some(payment.to_string().as_str()));
    let reason = dead_letter(&letter);
    assert_eq!(
        (reason["reason"].as_str(), &reason["receiveCount"]),
        (Some("unverified"), &json!(1))
    );
    assert_eq!(reason["originalMessageId"], id);
    assert_eq!(stack.item(&payment).await, None);
    assert!(stack.records().await.is_empty());
}

async fn one_poison_among_nine_good_payments_harms_none() {
    let stack = Stack::start_with(&["--batching-window", "1"]).await;
    let mut payments: Vec<Value> = (0..10).map(|_| stack.payment()).collect();
    payments[4]["amount"] = json!("0");
    let accepted = join_all(payments.iter().map(|payment| stack.submit(payment))).await;
    let poison = payments.remove(4);
    for payment in &payments {
        stack.stored(payment).await;
    }
    let record = stack.record_of(&accepted[4].request_id).await;
    assert_eq!(text(&record, "reason"), "invalid");
    assert_eq!(stack.item(&poison).await, None);
    stack.drained().await;
    assert_eq!(stack.stored_count().await, 9);
    assert!(!stack.logs().contains(r#""outcome":"retry""#), "one delivery was enough for all");
}

async fn a_record_gives_way_only_where_it_is_held_or_discarded() {
    let stack = Stack::start().await;
    let name = |name: &str| stack.at(name).to_owned();
    let table =
        PaymentsTable::new(stack.dynamodb.clone(), name("paymentsTable"), name("refusalsTable"));
    let submission = Submission {
        request_id: "request".to_owned(),
        message_id: "message".to_owned(),
        accepted_at_ms: 0,
        body_md5: String::new(),
        schema_version: 1,
    };
    let record = |kind: Kind, reason: &'static str, now_ms: i64| {
        let because = Because { kind, reason, message: String::new(), fields: Vec::new() };
        Record::new("user", None, &submission, Some("body"), because, now_ms)
    };
    let refused = Refusal::OwnerMismatch.reason();
    for (kind, reason, now_ms, left) in [
        (Kind::Held, "throttled", 1, ("held", "throttled")),
        (Kind::Held, "timed_out", 2, ("held", "timed_out")),
        (Kind::Discarded, "by_operator", 3, ("discarded", "by_operator")),
        // It died before it was discarded, and is only now recorded as held.
        (Kind::Held, "throttled", 2, ("discarded", "by_operator")),
        (Kind::Held, "throttled", 4, ("held", "throttled")),
        (Kind::Refused, refused, 5, ("refused", refused)),
        (Kind::Refused, "conflict", 6, ("refused", refused)),
        (Kind::Duplicate, "duplicate", 7, ("refused", refused)),
        (Kind::Held, "throttled", 8, ("refused", refused)),
        (Kind::Discarded, "by_operator", 9, ("refused", refused)),
    ] {
        table.record(&record(kind, reason, now_ms)).await.unwrap();
        let records = stack.records().await;
        assert_eq!(records.len(), 1);
        assert_eq!((text(&records[0], "kind"), text(&records[0], "reason")), left);
    }
}

async fn what_a_payment_says_never_reaches_a_log() {
    let canary = "canary4c0ffee";
    let stack = Stack::start_with(&["--max-receive-count", "1"]).await;
    let told = |mut payment: Value| {
        payment["description"] = json!(canary);
        payment["creditorAccount"] =
            json!({ "schemeName": "UK.OBIE.BBAN", "identification": canary, "name": canary });
        payment["remittanceInformation"] = json!({ "unstructured": [canary], "reference": canary });
        payment
    };
    let stored = told(stack.payment());
    stack.submit(&stored).await;
    stack.stored(&stored).await;
    let mut conflict = stored.clone();
    conflict["amount"] = json!("11");
    stack.record_of(&stack.submit(&conflict).await.request_id).await;
    let mut invalid = told(stack.payment());
    invalid["currency"] = json!("ZZZ");
    stack.record_of(&stack.submit(&invalid).await.request_id).await;
    let mut wrong = told(stack.payment());
    wrong["amount"] = json!(canary);
    // The validator's sentence repeats the value to its sender; nobody else may see it.
    let answer = stack.put(stack.at("token"), wrong.to_string()).await;
    assert!(answer.text().await.unwrap().contains(canary));
    stack.put(canary, stored.to_string()).await;
    stack.send(canary, &[("unverified", canary)]).await;
    stack.dead_letters(1).await;
    stack.break_table().await;
    stack.submit(&told(stack.payment())).await;
    let letters = stack.dead_letters(1).await;
    assert!(!dead_letter(&letters[0]).to_string().contains(canary));
    let receives = MessageSystemAttributeName::ApproximateReceiveCount;
    assert!(letters[0].attributes.as_ref().is_none_or(|all| !all.contains_key(&receives)));

    let logs = stack.logs();
    for outcome in ["stored", "refused", "dead"] {
        assert!(logs.contains(&format!(r#""outcome":"{outcome}""#)), "{outcome}: {logs}");
    }
    assert!(logs.contains(r#""_aws""#), "metrics: {logs}");
    let token = stack.at("token").rsplit('.').next().unwrap();
    for secret in [canary, stack.at("userId"), token] {
        assert!(!logs.contains(secret), "{secret}: {logs}");
    }
}

/// Deliveries come so late that others have received the message meanwhile. When the former receiver
/// postpones it, the queue shows it although somebody else holds it, or refuses: SQS may do either.
async fn every_accepted_payment_has_its_outcome_whichever_way_old_handles_go() {
    for rate in ["0", "1", "0.5"] {
        let seed = seed();
        let faults = format!("delay=0.7,throttle=0.5,old-handle={rate}");
        let given = seed.to_string();
        let flags = ["--faults", &faults, "--seed", &given, "--max-concurrency", "4"];
        let timeouts = ["--visibility-timeout", "1", "--max-receive-count", "1000"];
        let stack = Stack::start_with(&[&flags[..], &timeouts].concat()).await;
        let payments = mixed_payments(&stack, 50);
        let accepted = submit_all(&stack, &payments).await;
        every_one_has_its_outcome(&stack, &payments, &accepted, seed).await;
        let logs = stack.logs();
        assert!(logs.contains(r#""receiveCount":2"#), "REMIT_SEED={seed}: nothing came again");
        // A message that is deleted meanwhile is refused in another way.
        let refused = logs.contains("MessageNotInflight");
        assert!(rate != "0" || !refused, "REMIT_SEED={seed}: an old handle is obeyed");
        let not_postponed = logs.contains("retry not postponed");
        assert!(rate != "1" || not_postponed, "REMIT_SEED={seed}: no old handle was used");
    }
}

async fn every_accepted_payment_has_its_outcome_whatever_goes_wrong() {
    // So often that the SDK's own retries do not hide them, and that some payments die.
    let faults = "duplicate=0.1,delay=0.1,throttle=0.4,lost-reply=0.1,crash=0.1,dlq=0.6";
    let seed = seed();
    let given = seed.to_string();
    let flags = ["--faults", faults, "--seed", &given, "--max-concurrency", "4"];
    let patience = ["--visibility-timeout", "2", "--max-receive-count", "2"];
    let stack = Stack::start_with(&[&flags[..], &patience].concat()).await;
    let payments = mixed_payments(&stack, 200);
    let mut accepted = Vec::new();
    for some in payments.chunks(50) {
        accepted.extend(submit_all(&stack, some).await);
    }
    every_one_has_its_outcome(&stack, &payments, &accepted, seed).await;
    assert!(stack.logs().contains(r#""outcome":"retry""#), "REMIT_SEED={seed}: nothing went wrong");
}
