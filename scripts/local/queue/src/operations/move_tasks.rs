//! Operations on message move tasks.

use serde_json::json;

use super::input::{Answer, Request, number, queue_of_arn, text};
use crate::error::invalid_value;
use crate::store::Store;

pub(super) async fn start(request: &Request<'_>) -> Answer {
    let source = queue_of_arn(text(&request.input, "SourceArn")?, "SourceArn")?;
    let destination = match request.input["DestinationArn"].as_str() {
        Some(arn) => Some(queue_of_arn(arn, "DestinationArn")?),
        None => None,
    };
    let rate = number(&request.input, "MaxNumberOfMessagesPerSecond")?;
    let start = move |store: &mut Store| store.start_move(&source, destination.as_deref(), rate);
    Ok(json!({"TaskHandle": request.queues.writer.run(start).await?}))
}

pub(super) async fn list(request: &Request<'_>) -> Answer {
    let source = queue_of_arn(text(&request.input, "SourceArn")?, "SourceArn")?;
    let max = number(&request.input, "MaxResults")?.unwrap_or(1);
    if !(1..=10).contains(&max) {
        return Err(invalid_value(max, "MaxResults", "Must be between 1 and 10."));
    }
    let tasks = request.queues.reader.run(move |store| store.list_moves(&source, max)).await?;
    Ok(json!({"Results": tasks}))
}

pub(super) async fn cancel(request: &Request<'_>) -> Answer {
    let handle = text(&request.input, "TaskHandle")?.to_owned();
    let moved = request.queues.writer.run(move |store| store.cancel_move(&handle)).await?;
    Ok(json!({"ApproximateNumberOfMessagesMoved": moved}))
}
