//! Any event of the queue: each of its records is read or has no id, and what is to be done with it is
//! decided without a panic; nobody but its verified user gets a payment stored.

#![no_main]

use aws_lambda_events::sqs::SqsEvent;
use libfuzzer_sys::fuzz_target;
use schema::envelope::Kind;
use schema::payment::Payment;
use submit_payments::record::{Plan, Record};

fuzz_target!(|event: &[u8]| {
    let Ok(event) = serde_json::from_slice::<SqsEvent>(event) else { return };
    for message in event.records {
        let (message_id, body) = (message.message_id.clone(), message.body.clone());
        let Some(record) = Record::read(message) else {
            assert!(message_id.unwrap_or_default().is_empty());
            continue;
        };
        assert_eq!(Some(&record.message_id), message_id.as_ref());
        assert_eq!(record.body, body.unwrap_or_default());
        let sub = record.envelope.sub.as_deref();
        match record.plan(Payment::parse) {
            Plan::Put(payment) => assert_eq!(sub, Some(payment.user_id().as_str())),
            Plan::Refuse(_) => assert!(sub.is_some()),
            Plan::Unverified => assert!(sub.is_none()),
            Plan::UnknownKind => assert!(record.envelope.kind != Kind::Payment),
        }
    }
});
