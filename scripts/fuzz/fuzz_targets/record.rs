//! Any event of the queue: each of its messages is read or has no id, and what is to be done with it is
//! decided without a panic; nobody but its verified user gets a payment stored.

#![no_main]

use aws_lambda_events::sqs::SqsEvent;
use function::queue::Message;
use libfuzzer_sys::fuzz_target;
use schema::envelope::Kind;
use schema::payment::Payment;
use submit_payments::received::{Plan, Received};

fuzz_target!(|event: &[u8]| {
    let Ok(event) = serde_json::from_slice::<SqsEvent>(event) else { return };
    for message in event.records {
        let (message_id, body) = (message.message_id.clone(), message.body.clone());
        let Some(message) = Message::read(message) else {
            assert!(message_id.unwrap_or_default().is_empty());
            continue;
        };
        assert_eq!(Some(&message.message_id), message_id.as_ref());
        assert_eq!(message.body, body.unwrap_or_default());
        let received = Received::read(message);
        let sub = received.envelope.sub.as_deref();
        match received.plan(Payment::parse) {
            Plan::Put(payment) => assert_eq!(sub, Some(payment.user_id().as_str())),
            Plan::Refuse(_) => assert!(sub.is_some()),
            Plan::Unverified => assert!(sub.is_none()),
            Plan::UnknownKind => assert!(received.envelope.kind != Kind::Payment),
        }
    }
});
