//! Performs operations through aws-sdk-sqs.

use std::collections::HashMap;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry as VisibilityEntry,
    DeleteMessageBatchRequestEntry as DeleteEntry, Message, MessageAttributeValue,
    MessageSystemAttributeNameForSends, MessageSystemAttributeValue, QueueAttributeName,
    SendMessageBatchRequestEntry as SendEntry,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::Driver;

/// The SDK that the pipeline itself uses.
pub(crate) struct Sdk;

/// A client for this endpoint that never retries.
pub(crate) fn client(endpoint: &str) -> Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(endpoint)
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("any", "any", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

impl Driver for Sdk {
    async fn call(&self, endpoint: &str, operation: &str, input: &Value) -> Result<Value, String> {
        let client = client(endpoint);
        match operation {
            "SendMessage" => send(&client, input).await,
            "SendMessageBatch" => send_batch(&client, input).await,
            "ReceiveMessage" => receive(&client, input).await,
            "ListQueues" | "ListDeadLetterSourceQueues" => lists(&client, operation, input).await,
            "StartMessageMoveTask" | "ListMessageMoveTasks" | "CancelMessageMoveTask" => {
                moves(&client, operation, input).await
            }
            "DeleteMessage"
            | "DeleteMessageBatch"
            | "ChangeMessageVisibility"
            | "ChangeMessageVisibilityBatch" => handles(&client, operation, input).await,
            "GetQueueAttributes" => queue_attributes_of(&client, input).await,
            other => queues(&client, other, input).await,
        }
    }
}

fn code<E: ProvideErrorMetadata + std::error::Error + 'static>(error: SdkError<E>) -> String {
    match error.code() {
        Some(code) => code.to_owned(),
        None => format!("{}", aws_sdk_sqs::error::DisplayErrorContext(error)),
    }
}

async fn send(client: &Client, input: &Value) -> Result<Value, String> {
    let url = text(input, "QueueUrl");
    let sent = client
        .send_message()
        .set_queue_url(url)
        .set_message_body(text(input, "MessageBody"))
        .set_message_group_id(text(input, "MessageGroupId"))
        .set_delay_seconds(number(input, "DelaySeconds"))
        .set_message_attributes(attributes(input))
        .set_message_system_attributes(system_attributes(input))
        .send()
        .await
        .map_err(code)?;
    Ok(object([
        ("MessageId", json!(sent.message_id())),
        ("MD5OfMessageBody", json!(sent.md5_of_message_body())),
        ("MD5OfMessageAttributes", json!(sent.md5_of_message_attributes())),
        ("MD5OfMessageSystemAttributes", json!(sent.md5_of_message_system_attributes())),
    ]))
}

async fn send_batch(client: &Client, input: &Value) -> Result<Value, String> {
    let url = text(input, "QueueUrl");
    let entry = |entry: &Value| {
        SendEntry::builder()
            .set_id(text(entry, "Id"))
            .set_message_body(text(entry, "MessageBody"))
            .set_message_group_id(text(entry, "MessageGroupId"))
            .set_delay_seconds(number(entry, "DelaySeconds"))
            .set_message_attributes(attributes(entry))
            .build()
            .expect("an id and a body")
    };
    let entries = list(input, "Entries").iter().map(entry).collect();
    let call = client.send_message_batch().set_queue_url(url).set_entries(Some(entries));
    let sent = call.send().await.map_err(code)?;
    let successful = sent.successful().iter().map(|sent| {
        json!({
            "Id": sent.id(),
            "MessageId": sent.message_id(),
            "MD5OfMessageBody": sent.md5_of_message_body(),
        })
    });
    Ok(json!({
        "Successful": successful.collect::<Vec<_>>(),
        "Failed": failed(sent.failed()),
    }))
}

async fn receive(client: &Client, input: &Value) -> Result<Value, String> {
    let url = text(input, "QueueUrl");
    let names = |member| list(input, member).iter().filter_map(Value::as_str);
    let received = client
        .receive_message()
        .set_queue_url(url)
        .set_max_number_of_messages(number(input, "MaxNumberOfMessages"))
        .set_visibility_timeout(number(input, "VisibilityTimeout"))
        .set_wait_time_seconds(number(input, "WaitTimeSeconds"))
        .set_message_attribute_names(Some(
            names("MessageAttributeNames").map(str::to_owned).collect(),
        ))
        .set_message_system_attribute_names(Some(
            names("MessageSystemAttributeNames").map(Into::into).collect(),
        ))
        .send()
        .await
        .map_err(code)?;
    let messages: Vec<_> = received.messages().iter().map(message).collect();
    Ok(if messages.is_empty() { json!({}) } else { json!({"Messages": messages}) })
}

async fn handles(client: &Client, operation: &str, input: &Value) -> Result<Value, String> {
    let url = text(input, "QueueUrl");
    let handle = text(input, "ReceiptHandle");
    let timeout_s = number(input, "VisibilityTimeout");
    let entries = list(input, "Entries");
    let batch = |successful: Vec<&str>, failures: &[BatchResultErrorEntry]| {
        let successful: Vec<_> = successful.into_iter().map(|id| json!({"Id": id})).collect();
        json!({"Successful": successful, "Failed": failed(failures)})
    };
    match operation {
        "DeleteMessage" => {
            let call = client.delete_message().set_queue_url(url).set_receipt_handle(handle);
            call.send().await.map_err(code)?;
            Ok(json!({}))
        }
        "ChangeMessageVisibility" => {
            let call = client.change_message_visibility().set_queue_url(url);
            let call = call.set_receipt_handle(handle).set_visibility_timeout(timeout_s);
            call.send().await.map_err(code)?;
            Ok(json!({}))
        }
        "DeleteMessageBatch" => {
            let entry = |entry: &Value| {
                DeleteEntry::builder()
                    .set_id(text(entry, "Id"))
                    .set_receipt_handle(text(entry, "ReceiptHandle"))
                    .build()
                    .expect("an id and a handle")
            };
            let entries = entries.iter().map(entry).collect();
            let call = client.delete_message_batch().set_queue_url(url).set_entries(Some(entries));
            let done = call.send().await.map_err(code)?;
            Ok(batch(done.successful().iter().map(|entry| entry.id()).collect(), done.failed()))
        }
        _ => {
            let entry = |entry: &Value| {
                VisibilityEntry::builder()
                    .set_id(text(entry, "Id"))
                    .set_receipt_handle(text(entry, "ReceiptHandle"))
                    .set_visibility_timeout(number(entry, "VisibilityTimeout"))
                    .build()
                    .expect("an id and a handle")
            };
            let entries = entries.iter().map(entry).collect();
            let call = client.change_message_visibility_batch().set_queue_url(url);
            let done = call.set_entries(Some(entries)).send().await.map_err(code)?;
            Ok(batch(done.successful().iter().map(|entry| entry.id()).collect(), done.failed()))
        }
    }
}

async fn queues(client: &Client, operation: &str, input: &Value) -> Result<Value, String> {
    let url = text(input, "QueueUrl");
    let name = text(input, "QueueName");
    match operation {
        "CreateQueue" => {
            let call = client.create_queue().set_queue_name(name);
            let created =
                call.set_attributes(queue_attributes(input)).send().await.map_err(code)?;
            Ok(json!({"QueueUrl": created.queue_url()}))
        }
        "GetQueueUrl" => {
            let found = client.get_queue_url().set_queue_name(name).send().await.map_err(code)?;
            Ok(json!({"QueueUrl": found.queue_url()}))
        }
        "SetQueueAttributes" => {
            let call = client.set_queue_attributes().set_queue_url(url);
            call.set_attributes(queue_attributes(input)).send().await.map_err(code)?;
            Ok(json!({}))
        }
        "PurgeQueue" => {
            client.purge_queue().set_queue_url(url).send().await.map_err(code)?;
            Ok(json!({}))
        }
        "DeleteQueue" => {
            client.delete_queue().set_queue_url(url).send().await.map_err(code)?;
            Ok(json!({}))
        }
        "TagQueue" => {
            let call = client.tag_queue().set_queue_url(url).tags("a", "b");
            call.send().await.map_err(code)?;
            Ok(json!({}))
        }
        other => panic!("no such operation: {other}"),
    }
}

async fn queue_attributes_of(client: &Client, input: &Value) -> Result<Value, String> {
    let url = text(input, "QueueUrl");
    let names = list(input, "AttributeNames").iter().filter_map(Value::as_str);
    let call = client.get_queue_attributes().set_queue_url(url);
    let call = call.set_attribute_names(Some(names.map(Into::into).collect()));
    let found = call.send().await.map_err(code)?;
    let attributes = found.attributes().cloned().unwrap_or_default();
    let entry =
        |(name, value): (QueueAttributeName, String)| (name.as_str().to_owned(), json!(value));
    let attributes: Map<String, Value> = attributes.into_iter().map(entry).collect();
    let attributes = Some(attributes).filter(|attributes| !attributes.is_empty());
    Ok(object([("Attributes", json!(attributes))]))
}

async fn lists(client: &Client, operation: &str, input: &Value) -> Result<Value, String> {
    let url = text(input, "QueueUrl");
    let max = number(input, "MaxResults");
    let token = text(input, "NextToken");
    match operation {
        "ListQueues" => {
            let call = client.list_queues().set_queue_name_prefix(text(input, "QueueNamePrefix"));
            let page = call.set_max_results(max).set_next_token(token).send().await;
            let page = page.map_err(code)?;
            Ok(object([
                ("QueueUrls", json!(page.queue_urls.as_ref().filter(|urls| !urls.is_empty()))),
                ("NextToken", json!(page.next_token())),
            ]))
        }
        _ => {
            let call = client.list_dead_letter_source_queues().set_queue_url(url);
            let page = call.send().await.map_err(code)?;
            Ok(json!({"queueUrls": page.queue_urls()}))
        }
    }
}

async fn moves(client: &Client, operation: &str, input: &Value) -> Result<Value, String> {
    let source = text(input, "SourceArn");
    match operation {
        "StartMessageMoveTask" => {
            let started = client
                .start_message_move_task()
                .set_source_arn(source)
                .set_destination_arn(text(input, "DestinationArn"))
                .set_max_number_of_messages_per_second(number(
                    input,
                    "MaxNumberOfMessagesPerSecond",
                ))
                .send()
                .await
                .map_err(code)?;
            Ok(json!({"TaskHandle": started.task_handle()}))
        }
        "ListMessageMoveTasks" => {
            let call = client.list_message_move_tasks().set_source_arn(source);
            let call = call.set_max_results(number(input, "MaxResults"));
            let listed = call.send().await.map_err(code)?;
            let tasks = listed.results().iter().map(|task| {
                object([
                    ("TaskHandle", json!(task.task_handle())),
                    ("Status", json!(task.status())),
                    ("FailureReason", json!(task.failure_reason())),
                    (
                        "ApproximateNumberOfMessagesMoved",
                        json!(task.approximate_number_of_messages_moved()),
                    ),
                    (
                        "ApproximateNumberOfMessagesToMove",
                        json!(task.approximate_number_of_messages_to_move()),
                    ),
                ])
            });
            Ok(json!({"Results": tasks.collect::<Vec<_>>()}))
        }
        _ => {
            let call = client.cancel_message_move_task();
            let call = call.set_task_handle(text(input, "TaskHandle"));
            let cancelled = call.send().await.map_err(code)?;
            let moved = cancelled.approximate_number_of_messages_moved();
            Ok(json!({"ApproximateNumberOfMessagesMoved": moved}))
        }
    }
}

fn message(message: &Message) -> Value {
    let attributes = message.attributes().map(|attributes| {
        let entry = |(name, value): (&aws_sdk_sqs::types::MessageSystemAttributeName, &String)| {
            (name.as_str().to_owned(), json!(value))
        };
        attributes.iter().map(entry).collect::<Map<_, _>>()
    });
    let own = message.message_attributes().map(|attributes| {
        let entry = |(name, value): (&String, &MessageAttributeValue)| {
            let binary = value.binary_value().map(|bytes| STANDARD.encode(bytes.as_ref()));
            let value = object([
                ("DataType", json!(value.data_type())),
                ("StringValue", json!(value.string_value())),
                ("BinaryValue", json!(binary)),
            ]);
            (name.clone(), value)
        };
        attributes.iter().map(entry).collect::<Map<_, _>>()
    });
    object([
        ("MessageId", json!(message.message_id())),
        ("ReceiptHandle", json!(message.receipt_handle())),
        ("Body", json!(message.body())),
        ("MD5OfBody", json!(message.md5_of_body())),
        ("MD5OfMessageAttributes", json!(message.md5_of_message_attributes())),
        ("Attributes", json!(attributes)),
        ("MessageAttributes", json!(own)),
    ])
}

fn failed(entries: &[BatchResultErrorEntry]) -> Vec<Value> {
    let entry = |entry: &BatchResultErrorEntry| json!({"Id": entry.id(), "Code": entry.code(), "SenderFault": entry.sender_fault()});
    entries.iter().map(entry).collect()
}

/// An object without the members that are null.
fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let present = members.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(present.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn text(input: &Value, name: &str) -> Option<String> {
    input[name].as_str().map(str::to_owned)
}

fn number(input: &Value, name: &str) -> Option<i32> {
    input[name].as_i64().map(|number| i32::try_from(number).expect("a small number"))
}

fn list<'a>(input: &'a Value, name: &str) -> &'a [Value] {
    input[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn queue_attributes(input: &Value) -> Option<HashMap<QueueAttributeName, String>> {
    let entry = |(name, value): (&String, &Value)| {
        (QueueAttributeName::from(name.as_str()), value.as_str().unwrap_or_default().to_owned())
    };
    input["Attributes"].as_object().map(|attributes| attributes.iter().map(entry).collect())
}

fn attributes(input: &Value) -> Option<HashMap<String, MessageAttributeValue>> {
    let entry = |(name, value): (&String, &Value)| {
        let binary = value["BinaryValue"].as_str().map(|text| STANDARD.decode(text));
        let value = MessageAttributeValue::builder()
            .set_data_type(text(value, "DataType"))
            .set_string_value(text(value, "StringValue"))
            .set_binary_value(binary.map(|bytes| Blob::new(bytes.expect("base64"))))
            .build()
            .expect("a data type");
        (name.clone(), value)
    };
    input["MessageAttributes"].as_object().map(|attributes| attributes.iter().map(entry).collect())
}

fn system_attributes(
    input: &Value,
) -> Option<HashMap<MessageSystemAttributeNameForSends, MessageSystemAttributeValue>> {
    let entry = |(name, value): (&String, &Value)| {
        let value = MessageSystemAttributeValue::builder()
            .set_data_type(text(value, "DataType"))
            .set_string_value(text(value, "StringValue"))
            .build()
            .expect("a data type");
        (MessageSystemAttributeNameForSends::from(name.as_str()), value)
    };
    let attributes = input["MessageSystemAttributes"].as_object();
    attributes.map(|attributes| attributes.iter().map(entry).collect())
}
