//! What `cargo local` promises to whoever starts it.

use std::process::Output;

use libtest_mimic::Trial;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::process::Command;
use uuid::Uuid;

use super::trials;
use crate::stack::{Stack, pipeline, until};

pub(crate) fn all() -> Vec<Trial> {
    trials![
        the_ready_file_says_where_everything_is,
        the_printed_curl_line_submits_a_payment,
        a_token_is_printed_alone_and_works,
        no_token_is_made_where_there_is_no_pipeline,
        the_console_alone_says_why_a_token_is_refused,
        the_readmes_line_kills_the_functions_of_this_pipeline_and_of_no_other,
        the_ready_file_goes_with_the_pipeline,
        a_taken_port_names_its_flag,
        a_data_directory_has_one_pipeline,
        a_wrong_flag_is_refused_before_anything_starts,
        usage_is_shown_as_it_is_typed,
    ]
}

async fn run(arguments: &[&str]) -> Output {
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    pipeline(&arguments).output().await.unwrap()
}

fn error(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Stack {
    /// A token of the pipeline's own issuer.
    pub(crate) async fn token(&self, arguments: &[&str]) -> String {
        let data_dir = self.data_dir();
        let mut all = vec!["token", "--data-dir", data_dir.to_str().unwrap()];
        all.extend(arguments);
        let output = run(&all).await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

async fn the_ready_file_says_where_everything_is() {
    let stack = Stack::start().await;
    let mut names: Vec<&String> = stack.ready.as_object().unwrap().keys().collect();
    names.sort();
    let expected = [
        "api",
        "deadLetterQueueUrl",
        "paymentsTable",
        "queue",
        "queueUrl",
        "refusalsTable",
        "table",
        "token",
        "userId",
    ];
    assert_eq!(names, expected);
    for base in ["api", "queue", "table"] {
        assert!(stack.at(base).starts_with("http://127.0.0.1:"), "{}", stack.at(base));
    }
}

async fn the_printed_curl_line_submits_a_payment() {
    let stack = Stack::start().await;
    let printed = std::fs::read_to_string(stack.data_dir().join("../out.log")).unwrap();
    let line = printed.lines().find(|line| line.starts_with("curl ")).unwrap();
    // The line as a shell would take it apart: quoted by single quotes only.
    let body = line.split("-d '").nth(1).unwrap().trim_end_matches('\'');
    let token = line.split("Bearer ").nth(1).unwrap().split('\'').next().unwrap();
    assert!(line.contains(&format!("-X PUT {}/submit", stack.at("api"))), "{line}");
    let answer = stack.put(token, body.to_owned()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    stack.stored(&serde_json::from_str(body).unwrap()).await;
}

async fn a_token_is_printed_alone_and_works() {
    let stack = Stack::start().await;
    let user = Uuid::new_v4().to_string();
    let mut payment = stack.payment();
    payment["userId"] = user.clone().into();
    let submit = async |arguments: &[&str]| {
        let token = stack.token(&[&["--user", &user], arguments].concat()).await;
        stack.put(&token, payment.to_string()).await.status()
    };
    assert_eq!(submit(&[]).await, StatusCode::OK);
    stack.stored(&payment).await;
    assert_eq!(submit(&["--scope", "payments/read"]).await, StatusCode::UNAUTHORIZED);
    assert_eq!(submit(&["--expires-in", "0"]).await, StatusCode::UNAUTHORIZED);
    assert_eq!(submit(&["--scope", "payments/submit", "--expires-in", "60"]).await, StatusCode::OK);
}

async fn no_token_is_made_where_there_is_no_pipeline() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let user = Uuid::new_v4().to_string();
    for data_dir in [directory.path().to_owned(), directory.path().join("none")] {
        let data_dir = data_dir.to_str().unwrap();
        let output = run(&["token", "--data-dir", data_dir, "--user", &user]).await;
        let error = error(&output);
        assert!(error.contains("holds no pipeline") && error.contains(data_dir), "{error}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing was made");
}

async fn the_console_alone_says_why_a_token_is_refused() {
    let (stack, other) = (Stack::start().await, Stack::start().await);
    let user = stack.at("userId").to_owned();
    let token =
        async |arguments: &[&str]| stack.token(&[&["--user", &user], arguments].concat()).await;
    let cases = [
        (token(&["--expires-in", "0"]).await, "has expired"),
        (token(&["--scope", "payments/read"]).await, "lacks the scope payments/submit"),
        (other.at("token").to_owned(), "not signed by this pipeline"),
        ("x".to_owned(), "no token, or a damaged one"),
    ];
    let mut answers = Vec::new();
    for (token, cause) in cases {
        let answer = stack.put(&token, stack.payment().to_string()).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{cause}");
        let mut answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let request_id = answer["requestId"].take();
        let logs = stack.logs();
        let line = logs.lines().find(|line| line.contains(request_id.as_str().unwrap())).unwrap();
        assert!(line.contains(cause), "{line}");
        assert!(token.len() < 2 || !logs.contains(&token), "{logs}");
        assert!(!logs.contains(&user), "{logs}");
        answers.push(answer);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "from outside every 401 is the same: {answers:?}");
}

async fn the_readmes_line_kills_the_functions_of_this_pipeline_and_of_no_other() {
    let (stack, other) = (Stack::start().await, Stack::start().await);
    let (before, untouched) = (stack.function_processes(), other.function_processes());
    assert!(!before.is_empty() && !untouched.is_empty());
    let readme = include_str!("../../../README.md");
    let line = readme.lines().find(|line| line.contains("`pkill ")).unwrap();
    let line = line.split('`').nth(1).unwrap();
    let lock = stack.data_dir().join("lock");
    let line = line.replace("target/local/lock", lock.to_str().unwrap());
    let killed = Command::new("sh").args(["-c", &line]).status().await.unwrap();
    assert!(killed.success(), "{line}");
    until("its functions are others", || async {
        let now = stack.function_processes();
        (now.len() == before.len() && now.iter().all(|id| !before.contains(id))).then_some(())
    })
    .await;
    assert_eq!(other.function_processes(), untouched);
    let payment = stack.payment();
    stack.submit(&payment).await;
    stack.stored(&payment).await;
}

async fn the_ready_file_goes_with_the_pipeline() {
    let mut stack = Stack::start().await;
    let files = [stack.data_dir().join("../ready.json"), stack.data_dir().join("ready.json")];
    assert!(files.iter().all(|file| file.exists()));
    assert!(stack.interrupt().await);
    assert!(files.iter().all(|file| !file.exists()));
    // The file of a pipeline that was killed is removed before anything is started.
    std::fs::write(&files[0], "{}").unwrap();
    let taken = Stack::start().await;
    let port = taken.at("api").rsplit(':').next().unwrap();
    let (data_dir, file) = (stack.data_dir(), files[0].to_str().unwrap());
    let data_dir = data_dir.to_str().unwrap();
    let output = run(&["--data-dir", data_dir, "--ready-file", file, "--api-port", port]).await;
    assert!(error(&output).contains("is taken"), "{output:?}");
    assert!(!files[0].exists());
}

async fn usage_is_shown_as_it_is_typed() {
    for (arguments, usage) in [
        (&["--help"][..], "Usage: cargo local [OPTIONS]"),
        (&["token", "--help"], "Usage: cargo local token [OPTIONS] --user <UUID>"),
    ] {
        let output = run(arguments).await;
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains(usage), "{help}");
    }
}

async fn a_taken_port_names_its_flag() {
    let stack = Stack::start().await;
    for (base, flag) in
        [("api", "--api-port"), ("queue", "--queue-port"), ("table", "--table-port")]
    {
        let port = stack.at(base).rsplit(':').next().unwrap();
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let data_dir = directory.path().to_str().unwrap();
        let mut arguments = vec!["--data-dir", data_dir];
        for other in ["--api-port", "--queue-port", "--table-port"] {
            arguments.extend([other, if other == flag { port } else { "0" }]);
        }
        let error = error(&run(&arguments).await);
        assert!(error.contains(port) && error.contains(flag), "{error}");
    }
}

async fn a_data_directory_has_one_pipeline() {
    let stack = Stack::start().await;
    let data_dir = stack.data_dir();
    let output = run(&["--data-dir", data_dir.to_str().unwrap(), "--api-port", "0"]).await;
    assert!(error(&output).contains("in use by another pipeline"), "{output:?}");
}

async fn a_wrong_flag_is_refused_before_anything_starts() {
    for (arguments, named) in [
        (&["--batch-size", "11"][..], "batch size"),
        (&["--batching-window", "301"], "window"),
        (&["--max-receive-count", "0"], "--max-receive-count"),
        (&["--retry-delay", "901"], "--retry-delay"),
        (&["--visibility-timeout", "0"], "--visibility-timeout"),
        (&["token", "--user", "nobody"], "--user"),
    ] {
        let error = error(&run(arguments).await);
        assert!(error.contains(named), "{error}");
    }
}
