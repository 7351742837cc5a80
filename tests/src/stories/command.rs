//! What `cargo local` promises to whoever starts it.

use std::process::Output;

use libtest_mimic::Trial;
use reqwest::StatusCode;
use uuid::Uuid;

use super::trials;
use crate::stack::{Stack, pipeline};

pub(crate) fn all() -> Vec<Trial> {
    trials![
        the_ready_file_says_where_everything_is,
        the_printed_curl_line_submits_a_payment,
        a_token_is_printed_alone_and_works,
        a_taken_port_names_its_flag,
        a_data_directory_has_one_pipeline,
        a_wrong_flag_is_refused_before_anything_starts,
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
        (&["token", "--user", "nobody"], "--user"),
    ] {
        let error = error(&run(arguments).await);
        assert!(error.contains(named), "{error}");
    }
}
