//! Performs operations through the AWS CLI.

use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::language::Driver;

/// The AWS CLI, version 1, as PyPI has it.
pub(crate) struct Cli;

impl Driver for Cli {
    async fn call(&self, endpoint: &str, operation: &str, input: &Value) -> Result<Value, String> {
        let mut arguments = input.clone();
        decode_binary(&mut arguments);
        // In a file: the longest cases do not fit into arguments.
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), arguments.to_string()).expect("the file is writable");
        let arguments = format!("file://{}", file.path().display());
        let (endpoint, command) = (endpoint.to_owned(), kebab(operation));
        let run = move || {
            Command::new("aws")
                .args(["sqs", &command, "--endpoint-url", &endpoint, "--output", "json"])
                .args(["--cli-input-json", &arguments])
                .env("AWS_ACCESS_KEY_ID", "any")
                .env("AWS_SECRET_ACCESS_KEY", "any")
                .env("AWS_DEFAULT_REGION", "us-east-1")
                .env("AWS_MAX_ATTEMPTS", "1")
                .output()
        };
        let output = tokio::task::spawn_blocking(run).await.expect("the call does not panic");
        let output = output.expect("the AWS CLI is installed: pip install awscli");
        answer(&output)
    }
}

fn answer(output: &Output) -> Result<Value, String> {
    let error = String::from_utf8_lossy(&output.stderr);
    match (output.status.success(), output.stdout.trim_ascii()) {
        (true, []) => Ok(serde_json::json!({})),
        (true, text) => serde_json::from_slice(text).map_err(|error| error.to_string()),
        (false, _) => {
            let code =
                error.split_once("An error occurred (").and_then(|rest| rest.1.split_once(')'));
            Err(code.map_or_else(|| error.trim().to_owned(), |(code, _)| code.to_owned()))
        }
    }
}

/// This version of the CLI encodes binary values itself.
fn decode_binary(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str().filter(|_| name == "BinaryValue") {
                    Some(text) => {
                        let bytes = STANDARD.decode(text).expect("base64");
                        *value = String::from_utf8(bytes).expect("the CLI takes text").into();
                    }
                    None => decode_binary(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(decode_binary),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn kebab(operation: &str) -> String {
    let mut command = String::new();
    for letter in operation.chars() {
        if letter.is_ascii_uppercase() && !command.is_empty() {
            command.push('-');
        }
        command.push(letter.to_ascii_lowercase());
    }
    command
}
