//! The operations of SQS, from the JSON form of a request to the JSON form of its answer.

mod input;
mod messages;
mod move_tasks;
mod queues;

use serde_json::Value;

use self::input::{Answer, Request};
use crate::error::QueueError;
use crate::queues::Queues;

/// Runs the operation of this name. A request to a queue's own URL brings the queue in `path`, and
/// one that is traced the trace in its header.
pub(crate) async fn run(
    queues: &Queues,
    action: &str,
    input: Value,
    path: &str,
    trace: Option<&str>,
) -> Answer {
    let request = Request { queues, input, path, trace };
    match action {
        "SendMessage" => messages::send(&request).await,
        "SendMessageBatch" => messages::send_batch(&request).await,
        "ReceiveMessage" => messages::receive(&request).await,
        "DeleteMessage" => messages::delete(&request).await,
        "DeleteMessageBatch" => messages::delete_batch(&request).await,
        "ChangeMessageVisibility" => messages::change_visibility(&request, &request.input).await,
        "ChangeMessageVisibilityBatch" => messages::change_visibility_batch(&request).await,
        "CreateQueue" => queues::create(&request).await,
        "GetQueueUrl" => queues::get_url(&request).await,
        "GetQueueAttributes" => queues::get_attributes(&request).await,
        "SetQueueAttributes" => queues::set_attributes(&request).await,
        "ListQueues" => queues::list(&request).await,
        "ListDeadLetterSourceQueues" => queues::list_sources(&request).await,
        "PurgeQueue" => queues::purge(&request).await,
        "DeleteQueue" => queues::delete(&request).await,
        "StartMessageMoveTask" => move_tasks::start(&request).await,
        "ListMessageMoveTasks" => move_tasks::list(&request).await,
        "CancelMessageMoveTask" => move_tasks::cancel(&request).await,
        "ListQueueTags" | "TagQueue" | "UntagQueue" | "AddPermission" | "RemovePermission" => {
            Err(QueueError::Unsupported(action.to_owned()))
        }
        unknown => Err(QueueError::UnknownAction(unknown.to_owned())),
    }
}
