//! Does the queue behave like SQS, seen through aws-sdk-sqs?

mod language;

use language::sdk::Sdk;
use language::{Server, cases};

#[tokio::test]
async fn queue_behaves_like_sqs_through_the_sdk() {
    let mut surprises = Vec::new();
    for case in cases() {
        let server = Server::start().await;
        if let Err(text) = case.run(&Sdk, &server.endpoint, Some(&server.clock)).await {
            surprises.push(text);
        }
    }
    assert!(surprises.is_empty(), "{} surprises:\n{}", surprises.len(), surprises.join("\n"));
}
