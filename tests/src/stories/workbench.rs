//! What an operator does about dead letters, with the real `cargo dlq` as a process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Output, Stdio};

use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName, SendMessageBatchRequestEntry};
use libtest_mimic::Trial;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use uuid::Uuid;

use super::trials;
use crate::stack::{Stack, text, until};

pub(crate) fn all() -> Vec<Trial> {
    trials![
        letters_of_one_reason_go_back_and_those_of_others_stay,
        a_redrive_killed_twice_loses_nothing_and_stores_nothing_twice,
        an_interrupted_redrive_releases_what_it_held,
        what_cannot_be_sent_stays_where_it_is_and_is_named,
        a_letter_sent_back_is_followed_to_its_outcome,
        an_unverified_letter_goes_back_only_by_force_and_stays_as_old_as_it_is,
        a_redrive_stops_when_its_first_ten_die_again,
        payments_that_wait_for_another_try_are_counted,
        a_reason_that_no_letter_dies_of_is_an_error_that_names_the_nearest,
        what_a_letter_says_moves_no_cursor_and_runs_in_no_shell,
        everything_in_columns_fits_into_sixty,
        whoever_needs_few_letters_reads_few,
        what_the_queue_moved_itself_has_no_reason_and_goes_back_as_well,
        a_letter_is_shown_with_its_payments_standing_and_masked_until_revealed,
        an_export_is_complete_and_goes_on_where_it_ended,
        nothing_is_discarded_that_is_not_in_an_archive,
        an_archive_has_a_way_back_that_can_be_gone_twice,
        what_is_discarded_is_told_to_its_client_before_it_is_deleted,
        what_expired_is_told_to_its_client_but_nothing_that_may_still_be_on_its_way,
        what_is_in_the_queue_is_on_record_as_held,
        the_queues_own_task_moves_everything_but_filters_nothing,
        a_workbench_without_a_pipeline_says_what_to_do,
    ]
}

/// What the workbench answered.
struct Told {
    code: i32,
    out: String,
    err: String,
}

impl Told {
    fn of(output: Output) -> Told {
        Told {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The answer of a command that must have ended so.
    #[track_caller]
    fn ended(self, code: i32) -> Told {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self
    }

    /// The JSON objects, one a line.
    fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn workbench(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([crate::OPS, "dlq"]).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A payment of the demo user that died of this reason.
struct Dead {
    body: String,
    attributes: Vec<(&'static str, String)>,
}

impl Dead {
    fn of(stack: &Stack, reason: &str) -> Dead {
        let payment = stack.payment();
        let note = json!({
            "reason": reason,
            "detail": "put payment",
            "originalMessageId": Uuid::new_v4().to_string(),
            "receiveCount": 5,
            "functionVersion": "7",
            "at": "2026-11-20T12:00:00.000Z",
            "redriveCount": 0,
        });
        let attributes = vec![
            ("sub", stack.at("userId").to_owned()),
            ("requestId", Uuid::new_v4().to_string()),
            ("acceptedAt", "1790000000123".to_owned()),
            ("schemaVersion", "1".to_owned()),
            ("deadLetter", note.to_string()),
        ];
        Dead { body: payment.to_string(), attributes }
    }

    fn without(mut self, name: &str) -> Dead {
        self.attributes.retain(|(known, _)| *known != name);
        self
    }

    fn with_body(mut self, body: &Value) -> Dead {
        self.body = body.to_string();
        self
    }

    fn with(self, name: &'static str, value: &str) -> Dead {
        let mut dead = self.without(name);
        dead.attributes.push((name, value.to_owned()));
        dead
    }

    fn payment(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Stack {
    /// Runs the workbench on this pipeline.
    async fn dlq(&self, arguments: &[&str]) -> Told {
        Told::of(self.at_the_workbench(arguments).output().await.unwrap())
    }

    /// Starts the workbench on this pipeline.
    fn start_dlq(&self, arguments: &[&str]) -> Child {
        let mut command = self.at_the_workbench(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn at_the_workbench(&self, arguments: &[&str]) -> Command {
        let mut command = workbench(arguments);
        command.arg("--local").arg("--data-dir").arg(self.data_dir());
        command
    }

    /// Puts messages straight among the dead letters; returns their ids.
    async fn bury(&self, letters: &[Dead]) -> Vec<String> {
        let mut ids = Vec::new();
        for batch in letters.chunks(10) {
            let entry = |(index, letter): (usize, &Dead)| {
                let mut entry = SendMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .message_body(&letter.body);
                for (name, value) in &letter.attributes {
                    let value =
                        MessageAttributeValue::builder().data_type("String").string_value(value);
                    entry = entry.message_attributes(*name, value.build().unwrap());
                }
                entry.build().unwrap()
            };
            let entries = batch.iter().enumerate().map(entry).collect();
            let send = self.sqs.send_message_batch().queue_url(self.at("deadLetterQueueUrl"));
            let mut sent = send.set_entries(Some(entries)).send().await.unwrap().successful;
            assert_eq!(sent.len(), batch.len());
            sent.sort_by_key(|entry| entry.id.parse::<usize>().unwrap());
            ids.extend(sent.into_iter().map(|entry| entry.message_id));
        }
        ids
    }

    /// How many dead letters are to be seen.
    async fn dead_visible(&self) -> usize {
        let visible = QueueAttributeName::ApproximateNumberOfMessages;
        self.count_of("deadLetterQueueUrl", visible).await
    }

    /// The ids of all dead letters, as the workbench lists them.
    async fn listed(&self, filters: &[&str]) -> BTreeSet<String> {
        let told = self.dlq(&[&["list", "--json"], filters].concat()).await.ended(0);
        let id = |line: Value| line["messageId"].as_str().unwrap().to_owned();
        told.lines().into_iter().map(id).collect()
    }

    /// The lines of the audit log. A run that writes one meanwhile, or was killed while it did, shows half
    /// of it.
    fn audit_lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.data_dir().join("dlq-audit.ndjson"));
        let text = text.unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.data_dir().join("..").join(name)
    }
}

async fn letters_of_one_reason_go_back_and_those_of_others_stay() {
    let stack = Stack::start().await;
    let (mut letters, mut ids) = (Vec::new(), BTreeMap::new());
    for reason in ["throttled", "table_not_found", "unavailable"] {
        let some: Vec<Dead> = (0..300).map(|_| Dead::of(&stack, reason)).collect();
        ids.insert(reason, stack.bury(&some).await.into_iter().collect::<BTreeSet<_>>());
        letters.extend(some.into_iter().filter(|_| reason == "table_not_found"));
    }
    let summary = stack.dlq(&["summary", "--json"]).await.ended(0).lines().remove(0);
    let reasons = summary["reasons"].as_array().unwrap();
    assert_eq!(reasons.len(), 3, "{summary}");
    for reason in reasons {
        assert_eq!((&reason["count"], &reason["versions"]["7"]), (&json!(300), &json!(300)));
        assert!(reason["expiresInSeconds"].as_u64().unwrap() > 13 * 24 * 60 * 60, "{reason}");
    }
    assert_eq!(stack.dead_visible().await, 900, "a look releases what it held");
    let table = stack.dlq(&["summary"]).await.ended(0).out;
    assert!(table.contains('█') && !table.contains('\u{1b}'), "{table}");
    assert_eq!(stack.listed(&["--reason", "throttled"]).await, ids["throttled"]);
    assert_eq!(stack.listed(&["--limit", "7"]).await.len(), 7);

    let filter = ["redrive", "--reason", "table_not_found"];
    let dry = stack.dlq(&filter).await.ended(0).out;
    assert!(dry.contains("Would send 300 messages") && dry.contains("--yes"), "{dry}");
    assert_eq!((stack.dead_visible().await, stack.stored_count().await), (900, 0));
    assert!(stack.audit_lines().is_empty());

    let done = stack.dlq(&[&filter[..], &["--yes"]].concat()).await.ended(0).out;
    assert!(done.contains("300 = stored 300 + duplicates 0 + refused 0 + back"), "{done}");
    for letter in &letters {
        let item = stack.item(&letter.payment()).await.unwrap();
        assert_eq!(text(&item, "_requestId"), letter.attributes[1].1);
        assert!(letter.attributes[4].1.contains(text(&item, "_messageId")), "the first id");
    }
    assert_eq!(stack.stored_count().await, 300);
    let others: BTreeSet<String> = &ids["throttled"] | &ids["unavailable"];
    assert_eq!(stack.listed(&[]).await, others, "no letter of another reason was touched");
    let audit = stack.audit_lines();
    let (intent, result) = (&audit[0], audit.last().unwrap());
    let named: BTreeSet<String> = serde_json::from_value(intent["messageIds"].clone()).unwrap();
    assert_eq!((&intent["phase"], named), (&json!("intent"), ids["table_not_found"].clone()));
    assert_eq!(intent["filter"], json!({ "reason": ["table_not_found"] }));
    assert_eq!((&result["phase"], &result["sent"]), (&json!("result"), &json!(300)));
    assert_eq!(result["run"], intent["run"]);
}

async fn a_redrive_killed_twice_loses_nothing_and_stores_nothing_twice() {
    let stack = Stack::start().await;
    let letters: Vec<Dead> = (0..600).map(|_| Dead::of(&stack, "throttled")).collect();
    stack.bury(&letters).await;
    // A hold that a slow machine renews in time, and that a story can wait for.
    let slowly = ["redrive", "--yes", "--no-follow", "--hold", "8", "--rate", "150"];
    for kill in 1..=2 {
        let mut running = stack.start_dlq(&slowly);
        until("some more are sent", || async {
            let steps = stack.audit_lines();
            (steps.iter().filter(|line| line["phase"] == "step").count() >= kill * 20).then_some(())
        })
        .await;
        assert!(running.try_wait().unwrap().is_none(), "it is killed in the middle");
        running.kill().await.unwrap();
    }
    let done = stack.dlq(&["redrive", "--yes"]).await.ended(0).out;
    assert!(done.contains("unknown yet 0"), "{done}");
    stack.drained().await;
    for letter in &letters {
        let item = stack.item(&letter.payment()).await.expect("nothing is lost");
        assert_eq!(text(&item, "_requestId"), letter.attributes[1].1);
    }
    assert_eq!(stack.stored_count().await, 600, "nothing is stored twice");
    assert!(stack.listed(&[]).await.is_empty());
    assert!(stack.records().await.is_empty());
    let intents = stack.audit_lines().iter().filter(|line| line["phase"] == "intent").count();
    assert_eq!(intents, 3);
}

async fn an_interrupted_redrive_releases_what_it_held() {
    let stack = Stack::start().await;
    let letters: Vec<Dead> = (0..500).map(|_| Dead::of(&stack, "throttled")).collect();
    stack.bury(&letters).await;
    let running = stack.start_dlq(&["redrive", "--yes", "--rate", "100"]);
    until("some are stored", || async { (stack.stored_count().await >= 20).then_some(()) }).await;
    stack.signal(running.id().unwrap(), Signal::INT);
    let told = Told::of(running.wait_with_output().await.unwrap()).ended(1);
    assert!(told.err.contains("run the same command again"), "{}", told.err);
    stack.drained().await;
    let (stored, dead) = (stack.stored_count().await, stack.dead_visible().await);
    assert_eq!(stored + dead, 500, "each is in one place, and to be seen");
    assert!(dead > 0, "it was stopped in the middle");
    stack.dlq(&["redrive", "--yes"]).await.ended(0);
    assert_eq!(stack.stored_count().await, 500);
}

async fn what_cannot_be_sent_stays_where_it_is_and_is_named() {
    let stack = Stack::start().await;
    let letters: Vec<Dead> = (0..95).map(|_| Dead::of(&stack, "throttled")).collect();
    let ids: BTreeSet<String> = stack.bury(&letters).await.into_iter().collect();
    let nothing = stack.at("queueUrl").replace("submit-payment-queue", "nothing");
    // As deployed: by flags and the ordinary credential chain.
    let mut command = workbench(&["redrive", "--yes", "--no-follow", "--queue-url", &nothing]);
    command
        .args(["--dead-letter-queue-url", stack.at("deadLetterQueueUrl"), "--region", "us-east-1"])
        .arg("--audit-log")
        .arg(stack.file("audit.ndjson"))
        .env("AWS_ENDPOINT_URL", stack.at("queue"))
        .env("AWS_ACCESS_KEY_ID", "any")
        .env("AWS_SECRET_ACCESS_KEY", "any");
    let told = Told::of(command.output().await.unwrap()).ended(1);
    assert!(told.out.starts_with("0 of 95 messages sent back"), "{}", told.out);
    let named = told.err.lines().find(|line| line.contains("not sent (")).unwrap();
    assert!(ids.iter().any(|id| named.contains(id.as_str())), "{named}");
    assert_eq!(stack.dead_visible().await, 95, "and shows again at once");
    assert_eq!(stack.listed(&[]).await, ids);
}

async fn a_letter_sent_back_is_followed_to_its_outcome() {
    let stack = Stack::start().await;
    let stored = Dead::of(&stack, "throttled");
    let (known, other) = (stack.payment(), stack.payment());
    for payment in [&known, &other] {
        stack.submit(payment).await;
        stack.stored(payment).await;
    }
    let duplicate = Dead::of(&stack, "throttled").with_body(&known);
    let mut changed = other.clone();
    changed["amount"] = json!("11.00");
    let conflict = Dead::of(&stack, "throttled").with_body(&changed).without("requestId");
    stack.bury(&[stored, duplicate, conflict]).await;
    let told = stack.dlq(&["redrive", "--yes"]).await.ended(0);
    let expected =
        "3 = stored 1 + duplicates 1 + refused 1 + back in the dead-letter queue 0 + unknown yet 0";
    assert!(told.out.contains(expected), "{}", told.out);
    assert!(told.out.contains("refused, conflict: 1"), "{}", told.out);
}

async fn an_unverified_letter_goes_back_only_by_force_and_stays_as_old_as_it_is() {
    let stack = Stack::start().await;
    let throttled = Dead::of(&stack, "throttled");
    let unverified = Dead::of(&stack, "unverified").without("sub").without("acceptedAt");
    let ids = stack.bury(&[throttled, unverified]).await;
    let first = stack.dlq(&["summary", "--json"]).await.ended(0).lines().remove(0);
    let first_at = |summary: &Value| {
        let reasons = summary["reasons"].as_array().unwrap();
        let group = reasons.iter().find(|group| group["reason"] == "unverified").unwrap();
        group["firstAt"].as_str().unwrap().to_owned()
    };

    let told = stack.dlq(&["redrive", "--yes"]).await.ended(0);
    assert!(told.out.contains("1 = stored 1"), "{}", told.out);
    assert_eq!(stack.listed(&[]).await, [ids[1].clone()].into(), "it stays");
    let native = stack.dlq(&["redrive", "--native", "--yes"]).await.ended(2).err;
    assert!(native.contains("did not come through the gateway"), "{native}");
    let refused = stack.dlq(&["redrive", "--reason", "unverified", "--yes"]).await.ended(2).err;
    assert!(refused.contains("discard") && refused.contains("--force"), "{refused}");
    stack.dlq(&["redrive", "--force", "--yes"]).await.ended(2);
    assert_eq!(stack.listed(&[]).await, [ids[1].clone()].into());

    let by_force = ["redrive", "--reason", "unverified", "--force", "--yes"];
    let told = stack.dlq(&by_force).await.ended(1);
    assert!(told.out.contains("back in the dead-letter queue 1"), "{}", told.out);
    let back = stack.dlq(&["list", "--json"]).await.ended(0).lines().remove(0);
    assert_eq!((&back["reason"], &back["redriveCount"]), (&json!("unverified"), &json!(1)));
    assert_ne!(back["messageId"], ids[1]);
    assert!(told.out.contains(back["messageId"].as_str().unwrap()), "it is named");
    // Sent back again, it counts on, and its first id and its age stay.
    stack.dlq(&by_force).await.ended(1);
    let again = stack.dlq(&["list", "--json"]).await.ended(0).lines().remove(0);
    assert_eq!(again["redriveCount"], 2);
    assert_eq!(again["originalMessageId"], back["originalMessageId"]);
    let last = stack.dlq(&["summary", "--json"]).await.ended(0).lines().remove(0);
    assert_eq!(first_at(&last), first_at(&first));
    assert_ne!(again["sentAt"], json!(first_at(&first)), "to the queue it is a new one");
}

async fn a_redrive_stops_when_its_first_ten_die_again() {
    let stack = Stack::start_with(&["--max-receive-count", "1"]).await;
    let letters: Vec<Dead> = (0..40).map(|_| Dead::of(&stack, "throttled")).collect();
    stack.bury(&letters).await;
    let broken = stack.break_table().await;
    let told = stack.dlq(&["redrive", "--yes"]).await.ended(1);
    assert!(told.out.contains("10 of 40 messages sent back"), "{}", told.out);
    assert!(
        told.err.contains("table_not_found") && told.err.contains("--keep-going"),
        "{}",
        told.err
    );
    assert_eq!(stack.listed(&[]).await.len(), 40);
    assert_eq!(stack.listed(&["--reason", "throttled"]).await.len(), 30, "these stay as they were");
    let result = stack.audit_lines().pop().unwrap();
    assert_eq!((&result["sent"], &result["left"]), (&json!(10), &json!(30)));
    assert!(result["stopped"].as_str().unwrap().contains("table_not_found"), "{result}");
    assert_eq!(stack.dead_visible().await, 40, "nothing is held any more");

    let told = stack.dlq(&["redrive", "--yes", "--keep-going"]).await.ended(1);
    assert!(told.out.contains("40 of 40 messages sent back"), "{}", told.out);
    assert!(told.out.contains("back in the dead-letter queue 40"), "{}", told.out);
    stack.mend(broken).await;
    let told = stack.dlq(&["redrive", "--yes"]).await.ended(0);
    assert!(told.out.contains("40 = stored 40"), "mended, it goes on after ten: {}", told.out);
}

async fn payments_that_wait_for_another_try_are_counted() {
    let stack = Stack::start_with(&["--retry-delay", "600"]).await;
    let told = stack.dlq(&["summary"]).await.ended(0).out;
    assert!(told.contains("Main queue: 0 waiting, 0 being processed"), "{told}");
    let broken = stack.break_table().await;
    let payment = stack.payment();
    stack.submit(&payment).await;
    until("the first try has failed", || async {
        stack.logs().contains("table_not_found").then_some(())
    })
    .await;
    let told = stack.dlq(&["summary"]).await.ended(0).out;
    assert!(told.starts_with("No dead letters.\n"), "{told}");
    assert!(told.contains("0 waiting, 1 being processed or waiting\nfor another try"), "{told}");
    let summary = stack.dlq(&["summary", "--json"]).await.ended(0).lines().remove(0);
    assert_eq!(summary["mainQueue"], json!({ "waiting": 0, "underWay": 1 }));
    stack.mend(broken).await;
}

async fn a_reason_that_no_letter_dies_of_is_an_error_that_names_the_nearest() {
    let stack = Stack::start().await;
    stack.bury(&[Dead::of(&stack, "throttled"), Dead::of(&stack, "moon_phase")]).await;
    for (wrong, nearest) in [("trottled", "throttled"), ("moonphase", "moon_phase")] {
        for command in [&["list"][..], &["redrive", "--yes"]] {
            let told = stack.dlq(&[command, &["--reason", wrong]].concat()).await.ended(2);
            assert!(told.err.contains(nearest), "{}", told.err);
        }
    }
    // A newer function may know more reasons than this workbench.
    assert_eq!(stack.listed(&["--reason", "moon_phase"]).await.len(), 1);
    assert!(stack.listed(&["--reason", "panicked"]).await.is_empty());
    assert_eq!(stack.dead_visible().await, 2);
}

async fn what_a_letter_says_moves_no_cursor_and_runs_in_no_shell() {
    let stack = Stack::start().await;
    let trap = stack.file("trap");
    let request = format!("r\u{9b}'; touch {}; '\"", trap.display());
    let mut payment = stack.payment();
    payment["paymentId"] = json!("\u{1b}[2J\r");
    payment["\u{202e}name"] = json!("x");
    let dead = Dead::of(&stack, "\u{1b}]0;owned\u{7}");
    let dead = dead.with_body(&payment).with("requestId", &request).with("sub", "\u{202e}resu");
    let id = stack.bury(&[dead]).await.remove(0);
    let mut told = String::new();
    for looks in [&["summary"][..], &["list"], &["show", &id], &["list", "--reveal"]] {
        told += &stack.dlq(looks).await.ended(0).out;
    }
    told += &stack.dlq(&["show", &id, "--reveal"]).await.ended(0).out;
    let is_hidden = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!told.contains(is_hidden), "{told:?}");
    let line = told.lines().find_map(|line| line.split_once("grep -F ")).unwrap().1;
    let echo = format!("printf '%s\\n' {line}");
    let said = Command::new("sh").args(["-c", &echo]).output().await.unwrap();
    let words = String::from_utf8(said.stdout).unwrap();
    assert_eq!(words.lines().count(), 2, "a pattern and a file: {words}");
    assert!(words.lines().last().unwrap().ends_with("functions.log"), "{words}");
    assert!(!trap.exists());
}

async fn everything_in_columns_fits_into_sixty() {
    let stack = Stack::start().await;
    for reason in ["deadline_exceeded", &"moon_phase".repeat(9)] {
        let letters: Vec<Dead> = (0..30).map(|_| Dead::of(&stack, reason)).collect();
        stack.bury(&letters).await;
    }
    for looks in [&["summary"][..], &["list"], &["list", "--reveal"]] {
        let told = stack.dlq(looks).await.ended(0).out;
        let widest = told.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(widest.chars().count() <= 60, "{widest}");
    }
    // What a listing shows of a message's id is enough to be shown the message.
    let told = stack.dlq(&["list"]).await.ended(0).out;
    let beginning = told.lines().nth(1).unwrap().split(' ').next().unwrap();
    stack.dlq(&["show", beginning]).await.ended(0);
}

async fn whoever_needs_few_letters_reads_few() {
    let stack = Stack::start().await;
    let letters: Vec<Dead> = (0..300).map(|_| Dead::of(&stack, "throttled")).collect();
    let ids = stack.bury(&letters).await;
    for looks in [&["list", "--limit", "3"][..], &["show", &ids[10]], &["redrive", "--limit", "2"]]
    {
        let told = stack.dlq(looks).await.ended(0).out;
        assert!(!told.contains("others") || told.contains("29"), "of about 300: {told}");
    }
    let all = stack.dlq(&["list", "--json"]).await.ended(0).lines();
    assert_eq!(all.len(), 300);
    let read = |line: &&Value| line["receivesOfQueue"].as_u64().unwrap() > 1;
    let read = all.iter().filter(read).count();
    assert!(read <= 30, "three commands, ten letters each: {read}");
}

async fn what_the_queue_moved_itself_has_no_reason_and_goes_back_as_well() {
    let flags = ["--max-receive-count", "1", "--visibility-timeout", "1", "--max-concurrency", "1"];
    let stack = Stack::start_with(&flags).await;
    let function = stack.function_processes()[0];
    stack.signal(function, Signal::STOP);
    let payment = stack.payment();
    // Without a requestId: only the note keeps the id that the client was told.
    let id = stack.send(&payment.to_string(), &[("sub", stack.at("userId"))]).await;
    until("the queue has moved it", || async { (stack.dead_visible().await == 1).then_some(()) })
        .await;
    stack.signal(function, Signal::KILL);
    let line =
        stack.dlq(&["list", "--json", "--reason", "unknown"]).await.ended(0).lines().remove(0);
    assert_eq!((&line["messageId"], &line["receivesBeforeDeath"]), (&json!(id), &Value::Null));
    let table = stack.dlq(&["list"]).await.ended(0).out;
    assert!(table.contains('≤') && table.contains("every look adds one"), "{table}");
    let told = stack.dlq(&["redrive", "--yes", "--reason", "unknown"]).await.ended(0);
    assert!(told.out.contains("1 = stored 1"), "{}", told.out);
    let item = stack.stored(&payment).await;
    assert_eq!(text(&item, "_messageId"), id, "the id that the client was told");
    assert_eq!(text(&item, "_requestId"), id, "it stands in for the request's");
}

async fn a_letter_is_shown_with_its_payments_standing_and_masked_until_revealed() {
    let stack = Stack::start_with(&["--max-receive-count", "1"]).await;
    let canary = "canary4c0ffee";
    let mut payment = stack.payment();
    payment["description"] = json!(canary);
    let broken = stack.break_table().await;
    let accepted = stack.submit(&payment).await;
    until("it is dead", || async { (stack.dead_visible().await == 1).then_some(()) }).await;
    stack.mend(broken).await;
    let id = stack.listed(&["--payment", payment["paymentId"].as_str().unwrap()]).await;
    let id = id.first().unwrap().as_str();
    let shown = stack.dlq(&["show", id]).await.ended(0).out;
    for part in ["table_not_found", "not stored", "told: held", &accepted.request_id, "grep -F"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let query = shown.lines().find_map(|line| line.split_once("grep -F ")).unwrap().1;
    let (pattern, path) = query.split_once(' ').unwrap();
    assert!(std::fs::read_to_string(path).unwrap().contains(pattern.trim_matches('\'')));
    let mut told = shown;
    for looks in [&["summary"][..], &["list"], &["list", "--json"], &["show", id, "--json"]] {
        told += &stack.dlq(looks).await.ended(0).out;
    }
    for secret in [canary, stack.at("userId"), "10.50"] {
        assert!(!told.contains(secret), "{secret}: {told}");
    }
    assert!(stack.audit_lines().is_empty(), "a masked look is no action");
    let revealed = stack.dlq(&["show", id, "--reveal"]).await.ended(0).out;
    assert!(revealed.contains(&payment.to_string()), "{revealed}");
    let audit = stack.audit_lines().remove(0);
    assert_eq!((&audit["action"], &audit["revealed"]), (&json!("show"), &json!(true)));
    assert_eq!(audit["messageIds"], json!([id]));
    assert!(!audit.to_string().contains(canary));
    let payment_id = payment["paymentId"].as_str().unwrap();
    for meant in [&id[..12], payment_id] {
        let shown = stack.dlq(&["show", meant, "--json"]).await.ended(0).lines().remove(0);
        assert_eq!(shown["messageId"], id);
    }
    let absent = stack.dlq(&["show", "nobody"]).await.ended(2);
    assert!(absent.err.contains("cargo dlq list"), "{}", absent.err);

    stack.dlq(&["redrive", "--yes"]).await.ended(0);
    // A copy, as a lost acknowledgement leaves one.
    let copy = Dead::of(&stack, "throttled").with_body(&payment);
    let id = stack.bury(&[copy]).await.remove(0);
    let shown = stack.dlq(&["show", &id]).await.ended(0).out;
    assert!(shown.contains("stored already, by another request"), "{shown}");
    let other = stack.bury(&[Dead::of(&stack, "throttled").with_body(&payment)]).await.remove(0);
    let several = stack.dlq(&["show", payment_id]).await.ended(2).err;
    assert!(several.contains(&id) && several.contains(&other), "{several}");
}

async fn an_export_is_complete_and_goes_on_where_it_ended() {
    let stack = Stack::start().await;
    let mut letters: Vec<Dead> = (0..40).map(|_| Dead::of(&stack, "throttled")).collect();
    letters[7].body = "{\"description\":\"\u{1f600}\\u0041\r\n\", not even JSON".to_owned();
    let ids = stack.bury(&letters).await;
    let path = stack.file("archive.ndjson");
    let out = path.to_str().unwrap();
    stack.dlq(&["export", "--out", out, "--limit", "15"]).await.ended(0);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 15);
    std::fs::write(&path, &text[..text.len() - 10]).unwrap();
    let told = stack.dlq(&["export", "--out", out]).await.ended(0).out;
    assert!(told.starts_with("26 letters written"), "{told}");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut archived: BTreeMap<String, Value> = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        archived.insert(line["messageId"].as_str().unwrap().to_owned(), line);
    }
    assert_eq!((text.lines().count(), archived.len()), (40, 40));
    for (id, letter) in ids.iter().zip(&letters) {
        assert_eq!(archived[id]["body"], letter.body);
        let note = &archived[id]["attributes"]["deadLetter"]["text"];
        assert_eq!(*note, letter.attributes[4].1);
    }
    assert_eq!(stack.dead_visible().await, 40, "they stay");
}

async fn nothing_is_discarded_that_is_not_in_an_archive() {
    let stack = Stack::start().await;
    let keep = stack.bury(&[Dead::of(&stack, "throttled")]).await;
    let drop: Vec<Dead> = (0..25).map(|_| Dead::of(&stack, "unverified")).collect();
    stack.bury(&drop).await;
    let path = stack.file("discarded.ndjson");
    let archive = path.to_str().unwrap();
    let discard = ["discard", "--reason", "unverified", "--why", "forged by a test", "--archive"];
    let dry = stack.dlq(&[&discard[..], &[archive]].concat()).await.ended(0).out;
    assert!(dry.contains("Would write 25 letters"), "{dry}");
    assert!(!path.exists());
    let nowhere = ["/nowhere/archive.ndjson", "--yes"];
    stack.dlq(&[&discard[..], &nowhere].concat()).await.ended(2);
    assert_eq!(stack.dead_visible().await, 26, "without an archive nothing goes");
    let audit = stack.audit_lines();
    assert_eq!((&audit[0]["phase"], audit.len()), (&json!("intent"), 2), "it was on record first");
    assert!(audit[1]["error"].as_str().unwrap().contains("/nowhere"), "{audit:?}");
    stack.dlq(&[&discard[..], &[archive, "--yes"]].concat()).await.ended(0);
    assert_eq!(stack.listed(&[]).await, keep.into_iter().collect());
    let archived = std::fs::read_to_string(&path).unwrap();
    assert_eq!(archived.lines().count(), 25);
    let audit = stack.audit_lines();
    assert_eq!(
        (&audit[0]["action"], &audit[0]["why"]),
        (&json!("discard"), &json!("forged by a test"))
    );
    assert_eq!(audit.last().unwrap()["discarded"], 25);
}

async fn an_archive_has_a_way_back_that_can_be_gone_twice() {
    let stack = Stack::start().await;
    let letters: Vec<Dead> = (0..25).map(|_| Dead::of(&stack, "throttled")).collect();
    stack.bury(&letters).await;
    let path = stack.file("discarded.ndjson");
    let archive = path.to_str().unwrap();
    let user = stack.at("userId");
    let discard = ["discard", "--user", user, "--why", "a mistake", "--archive", archive, "--yes"];
    stack.dlq(&discard).await.ended(0);
    assert_eq!((stack.dead_visible().await, stack.stored_count().await), (0, 0));
    let lines = stack.audit_lines();
    assert!(!lines.iter().any(|line| line.to_string().contains(user)), "no user is on record");
    assert_eq!(lines[0]["filter"]["user"], format!("{}…", &user[..8]));

    let restore = ["restore", "--archive", archive];
    let dry = stack.dlq(&restore).await.ended(0).out;
    assert!(dry.contains("Would send 25 messages") && dry.contains("--yes"), "{dry}");
    assert_eq!((stack.stored_count().await, stack.audit_lines().len()), (0, lines.len()));
    let one = letters[3].payment();
    let one = one["paymentId"].as_str().unwrap();
    let told = stack.dlq(&[&restore[..], &["--payment", one, "--yes"]].concat()).await.ended(0).out;
    assert!(told.contains("1 = stored 1"), "{told}");
    for _ in 0..2 {
        let told = stack.dlq(&[&restore[..], &["--yes"]].concat()).await.ended(0).out;
        assert!(told.contains("25 = stored 25 + duplicates 0 + refused 0 + back"), "{told}");
    }
    for letter in &letters {
        let item = stack.item(&letter.payment()).await.unwrap();
        assert_eq!(text(&item, "_requestId"), letter.attributes[1].1);
        assert!(letter.attributes[4].1.contains(text(&item, "_messageId")), "the first id");
    }
    assert_eq!(stack.stored_count().await, 25);
    assert!(stack.listed(&[]).await.is_empty());
    let audit = stack.audit_lines();
    let intent = audit.iter().rfind(|line| line["phase"] == "intent").unwrap();
    assert_eq!((&intent["action"], &intent["from"]), (&json!("restore"), &json!(archive)));
    assert_eq!(intent["messageIds"].as_array().unwrap().len(), 25);
    let altered = std::fs::read_to_string(&path).unwrap().replacen("10.50", "99.50", 1);
    std::fs::write(&path, altered).unwrap();
    let told = stack.dlq(&[&restore[..], &["--yes"]].concat()).await.ended(2).err;
    assert!(told.contains("line 1"), "{told}");
}

impl Stack {
    /// What the client is told of one of its submissions: the status, and why.
    async fn client_is_told(&self, payment: &Value, request_id: &str) -> (String, String) {
        let id = payment["paymentId"].as_str().unwrap();
        let ask = self.http().get(format!("{}/payments/{id}", self.at("api")));
        let ask = ask.query(&[("requestId", request_id)]).bearer_auth(self.at("token"));
        let answer = ask.send().await.unwrap().bytes().await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        let status = if answer["status"].is_null() { text("code") } else { text("status") };
        (status, text("reason"))
    }

    /// A payment that died, through the gateway and the function, and its request.
    async fn died(&self) -> (Value, String) {
        let payment = self.payment();
        let accepted = self.submit(&payment).await;
        let held = self.record_of(&accepted.request_id).await;
        assert_eq!(text(&held, "kind"), "held");
        (payment, accepted.request_id)
    }
}

fn pair(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

async fn what_is_discarded_is_told_to_its_client_before_it_is_deleted() {
    let stack = Stack::start_with(&["--max-receive-count", "1"]).await;
    let broken = stack.break_table().await;
    let (discarded, request) = stack.died().await;
    let (stored, first) = stack.died().await;
    stack.mend(broken).await;
    assert_eq!(stack.client_is_told(&discarded, &request).await, pair("held", ""));
    // The client repeats one of them meanwhile, in other bytes.
    let mut spelled = stored.clone();
    spelled["amount"] = json!("10.5");
    let second = stack.submit(&spelled).await.request_id;
    stack.stored(&stored).await;
    let path = stack.file("discarded.ndjson");
    let archive = path.to_str().unwrap();
    let forged = Dead::of(&stack, "unverified").without("sub");
    stack.bury(&[forged]).await;

    let refusals = stack.at("refusalsTable").to_owned();
    let table = stack.dynamodb.describe_table().table_name(&refusals).send().await.unwrap();
    let discard = ["discard", "--archive", archive, "--why", "not to be paid", "--yes"];
    stack.dlq(&discard).await.ended(0);
    assert_eq!(stack.dead_visible().await, 0);
    assert_eq!(stack.client_is_told(&discarded, &request).await, pair("discarded", "by_operator"));
    assert_eq!(
        stack.client_is_told(&stored, &first).await.0,
        "duplicate",
        "its payment is processed"
    );
    assert_eq!(stack.client_is_told(&stored, &second).await.0, "stored");
    assert_eq!(stack.records().await.len(), 2, "nobody to tell of the forged one");

    // And back: it becomes whatever the payment becomes.
    let told = stack.dlq(&["restore", "--archive", archive, "--yes"]).await.ended(0).out;
    assert!(told.contains("2 = stored 1 + duplicates 1"), "{told}");
    assert_eq!(stack.client_is_told(&discarded, &request).await.0, "stored");
    assert_eq!(stack.client_is_told(&stored, &first).await.0, "duplicate");

    // A letter whose client cannot be told stays.
    let id = stack.bury(&[Dead::of(&stack, "throttled")]).await.remove(0);
    stack.dynamodb.delete_table().table_name(&refusals).send().await.unwrap();
    assert!(table.table.is_some());
    let told = stack.dlq(&discard).await.ended(1);
    assert!(told.err.contains(&id) && told.err.contains("not told"), "{}", told.err);
    assert_eq!(stack.dead_visible().await, 1);
}

async fn what_expired_is_told_to_its_client_but_nothing_that_may_still_be_on_its_way() {
    let stack = Stack::start_with(&["--max-receive-count", "1"]).await;
    let broken = stack.break_table().await;
    let (lost, request) = stack.died().await;
    let (stored, first) = stack.died().await;
    stack.mend(broken).await;
    let second = stack.submit(&stored).await.request_id;
    stack.stored(&stored).await;

    let stack = stack.later_by_days(12).await;
    let summary = stack.dlq(&["summary"]).await.ended(0).out;
    assert!(summary.contains("WARNING: 2 expire within 3d, the first in 1d 23h"), "{summary}");

    // Gone from the queue, and not yet gone for certain: somebody might have sent them back last.
    let stack = stack.later_by_days(9).await;
    let summary = stack.dlq(&["summary"]).await.ended(0).out;
    assert!(summary.starts_with("No dead letters."), "{summary}");
    assert_eq!(stack.client_is_told(&lost, &request).await, pair("held", ""));
    let told = stack.dlq(&["reconcile", "--yes"]).await.ended(0).out;
    assert!(told.contains("1 held records have no letter that is to be seen"), "{told}");
    assert_eq!(stack.client_is_told(&lost, &request).await, pair("held", ""));
    assert_eq!(
        stack.client_is_told(&stored, &first).await.0,
        "duplicate",
        "that is certain at once"
    );

    let stack = stack.later_by_days(2).await;
    let dry = stack.dlq(&["reconcile"]).await.ended(0).out;
    let payment_id = lost["paymentId"].as_str().unwrap();
    assert!(dry.contains("older than 22d") && dry.contains(payment_id), "{dry}");
    assert!(dry.lines().all(|line| line.chars().count() <= 66), "{dry}");
    assert_eq!(stack.client_is_told(&lost, &request).await, pair("held", ""), "that was a dry run");
    let told = stack.dlq(&["reconcile", "--yes"]).await.ended(0).out;
    assert!(told.contains("0 as held, 1 as discarded, 0 as duplicates"), "{told}");
    assert_eq!(stack.client_is_told(&lost, &request).await, pair("discarded", "expired"));
    assert_eq!(stack.client_is_told(&stored, &first).await.0, "duplicate");
    assert_eq!(stack.client_is_told(&stored, &second).await.0, "stored");
    let audit = stack.audit_lines();
    let intent = audit.iter().rfind(|line| line["phase"] == "intent").unwrap();
    assert_eq!((&intent["action"], &intent["expired"]), (&json!("reconcile"), &json!([request])));
    assert!(!intent.to_string().contains(stack.at("userId")), "{intent}");
    let again = stack.dlq(&["reconcile"]).await.ended(0).out;
    assert_eq!(again, "0 dead letters.\n\nNothing is to be written.\n");
}

async fn what_is_in_the_queue_is_on_record_as_held() {
    let stack = Stack::start_with(&["--max-receive-count", "1"]).await;
    let broken = stack.break_table().await;
    let (old, request) = stack.died().await;
    stack.mend(broken).await;
    // Two that the queue moved itself are on no record; one of them is stored all the same.
    let letters = [Dead::of(&stack, "unknown"), Dead::of(&stack, "unknown")];
    stack.bury(&letters).await;
    let stored = letters[1].payment();
    stack
        .send(
            &letters[1].body,
            &[("sub", stack.at("userId")), ("requestId", &letters[1].attributes[1].1)],
        )
        .await;
    stack.stored(&stored).await;
    let told = stack.dlq(&["reconcile"]).await.ended(0).out;
    assert!(told.contains("1 letters are not on record as held"), "{told}");
    let of = |letter: &Dead| letter.attributes[1].1.clone();
    assert_eq!(stack.client_is_told(&letters[0].payment(), &of(&letters[0])).await.0, "not_found");
    let told = stack.dlq(&["reconcile", "--yes"]).await.ended(0).out;
    assert!(told.contains("1 as held, 0 as discarded"), "{told}");
    assert_eq!(stack.client_is_told(&letters[0].payment(), &of(&letters[0])).await.0, "held");
    assert_eq!(stack.client_is_told(&stored, &of(&letters[1])).await.0, "stored");
    assert_eq!(stack.dead_visible().await, 3, "they stay");

    // A colleague holds a letter: it is not gone, however old its record is.
    let stack = stack.later_by_days(13).await;
    let receive = stack.sqs.receive_message().queue_url(stack.at("deadLetterQueueUrl"));
    let held = receive.max_number_of_messages(10).visibility_timeout(43_000).send().await.unwrap();
    assert_eq!(held.messages.unwrap().len(), 3);
    let records = stack.records().await;
    let record = records.iter().find(|record| text(record, "requestId") == request).unwrap();
    let mut ancient = record.clone();
    for name in ["recordedAt", "heldAt"] {
        let time =
            aws_sdk_dynamodb::types::AttributeValue::S("2026-01-01T00:00:00.000Z".to_owned());
        ancient.insert(name.to_owned(), time);
    }
    let put = stack.dynamodb.put_item().table_name(stack.at("refusalsTable"));
    put.set_item(Some(ancient)).send().await.unwrap();
    let told = stack.dlq(&["reconcile", "--yes", "--hold", "2"]).await.ended(1);
    assert!(told.err.contains("out of sight: run again"), "{}{}", told.out, told.err);
    assert_eq!(stack.client_is_told(&old, &request).await, pair("held", ""));
}

async fn the_queues_own_task_moves_everything_but_filters_nothing() {
    let stack = Stack::start().await;
    let letters: Vec<Dead> = (0..30).map(|_| Dead::of(&stack, "throttled")).collect();
    stack.bury(&letters).await;
    stack.dlq(&["redrive", "--native", "--yes", "--reason", "throttled"]).await.ended(2);
    stack.dlq(&["redrive", "--native", "--yes", "--rate", "501"]).await.ended(2);
    let dry = stack.dlq(&["redrive", "--native"]).await.ended(0).out;
    assert!(dry.contains("about 30 messages") && dry.contains("cannot filter"), "{dry}");
    assert_eq!(stack.dead_visible().await, 30);
    let told = stack.dlq(&["redrive", "--native", "--yes"]).await.ended(0).out;
    assert!(told.contains("30 messages moved: COMPLETED"), "{told}");
    for letter in &letters {
        stack.stored(&letter.payment()).await;
    }
    let audit = stack.audit_lines();
    assert_eq!(audit[0]["messageIds"], Value::Null);
    assert_eq!((&audit[1]["phase"], &audit[1]["moved"]), (&json!("result"), &json!(30)));
}

async fn a_workbench_without_a_pipeline_says_what_to_do() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().to_str().unwrap();
    let told = |output: Output| Told::of(output).ended(2).err;
    let summary = ["summary", "--local", "--data-dir", path];
    let err = told(workbench(&summary).output().await.unwrap());
    assert!(err.contains("cargo local"), "{err}");
    // A pipeline that was killed leaves its addresses behind, and is recognised all the same.
    let stack = Stack::start().await;
    let ready = std::fs::read(stack.data_dir().join("ready.json")).unwrap();
    std::fs::write(directory.path().join("ready.json"), ready).unwrap();
    std::fs::write(directory.path().join("lock"), "").unwrap();
    let err = told(workbench(&summary).output().await.unwrap());
    assert!(err.contains("cargo local"), "{err}");
    let deployed = ["summary", "--infra", path];
    let err = told(workbench(&deployed).env("PATH", "").output().await.unwrap());
    assert!(err.contains("--queue-url") && err.contains("--local"), "{err}");
    let mut stack = stack;
    assert!(stack.interrupt().await);
    assert!(!stack.data_dir().join("ready.json").exists());
}
