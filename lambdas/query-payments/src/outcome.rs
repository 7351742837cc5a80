//! What was found in the tables, as the API answers it.

use schema::answer::{Attempt, PaymentStatus, Status, StoredPayment};
use tables::{Kind, PaymentItem, Record};

/// What became of a payment: the stored one, or else the newest refusal, or else that it is held, or
/// else that it is discarded. `None` when nothing is known. The records come newest first.
#[must_use]
pub fn of_payment(
    payment_id: &str,
    item: Option<PaymentItem>,
    mut records: Vec<Record>,
) -> Option<PaymentStatus> {
    if let Some(item) = item {
        // What is on record of the stored submission itself is an earlier delivery of it.
        records.retain(|record| record.request_id != item.request_id);
        return Some(PaymentStatus { other_attempts: others(records), ..stored(payment_id, item) });
    }
    let newest = |kind| records.iter().position(|record| record.kind == kind);
    let first = [Kind::Refused, Kind::Held, Kind::Discarded, Kind::Duplicate].map(newest);
    let status = on_record(records.remove(first.into_iter().flatten().next()?));
    Some(PaymentStatus { other_attempts: others(records), ..status })
}

/// What became of one submission: the stored payment, if it is the one that was stored, or else what is
/// on record of it. `None` when nothing is known of it.
#[must_use]
pub fn of_submission(
    payment_id: &str,
    request_id: &str,
    item: Option<PaymentItem>,
    record: Option<Record>,
) -> Option<PaymentStatus> {
    let item = item.filter(|item| item.request_id == request_id);
    item.map(|item| stored(payment_id, item)).or_else(|| record.map(on_record))
}

fn others(records: Vec<Record>) -> Option<Vec<Attempt>> {
    let others: Vec<Attempt> = records.into_iter().map(attempt).collect();
    (!others.is_empty()).then_some(others)
}

/// A stored payment.
#[must_use]
pub fn stored(payment_id: &str, item: PaymentItem) -> PaymentStatus {
    PaymentStatus {
        status: Status::Stored,
        payment_id: Some(payment_id.to_owned()),
        request_id: item.request_id,
        body_md5: item.body_md5,
        accepted_at: item.accepted_at,
        decided_at: item.stored_at,
        payment: Some(StoredPayment(item.body)),
        reason: None,
        message: None,
        fields: None,
        other_attempts: None,
    }
}

/// A submission that is not the stored one.
#[must_use]
pub fn on_record(record: Record) -> PaymentStatus {
    let payment_id = record.payment_id.clone();
    let attempt = attempt(record);
    PaymentStatus {
        status: attempt.status,
        payment_id,
        request_id: attempt.request_id,
        body_md5: attempt.body_md5,
        accepted_at: attempt.accepted_at,
        decided_at: attempt.decided_at,
        payment: None,
        reason: attempt.reason,
        message: Some(attempt.message),
        fields: attempt.fields,
        other_attempts: None,
    }
}

fn attempt(record: Record) -> Attempt {
    let (status, has_reason, has_fields) = match record.kind {
        Kind::Refused => (Status::Refused, true, true),
        Kind::Duplicate => (Status::Duplicate, false, false),
        // Why something is held is our affair, such as a missing table, and not the client's.
        Kind::Held => (Status::Held, false, false),
        Kind::Discarded => (Status::Discarded, true, false),
    };
    Attempt {
        status,
        request_id: record.request_id,
        body_md5: record.body_md5,
        accepted_at: record.accepted_at,
        decided_at: record.recorded_at,
        reason: has_reason.then_some(record.reason),
        message: record.message,
        fields: has_fields.then_some(record.fields),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tables::Submission;
    use tables::record::Because;

    fn record(kind: Kind, request_id: &str) -> Record {
        let because = Because {
            kind,
            reason: "table_not_found",
            message: "in words".to_owned(),
            fields: vec!["amount".to_owned()],
        };
        let submission = Submission {
            request_id: request_id.to_owned(),
            message_id: "m".to_owned(),
            accepted_at_ms: 0,
            body_md5: "md5".to_owned(),
            schema_version: 1,
        };
        Record::new("user", Some("id"), &submission, Some("{\"secret\":1}"), because, 1000)
    }

    fn item() -> PaymentItem {
        PaymentItem {
            request_id: "r-0".to_owned(),
            body_md5: "md5".to_owned(),
            accepted_at: "then".to_owned(),
            stored_at: "now".to_owned(),
            body: schema::json::parse_object(r#"{"amount":"10.50","n":1.10}"#).unwrap(),
        }
    }

    #[test]
    fn stored_precedes_refused_precedes_held_precedes_discarded() {
        use Kind::{Discarded, Duplicate, Held, Refused};
        let check = |item: Option<PaymentItem>, records: &[(Kind, &str)], expected: &str| {
            let records = records.iter().map(|(kind, id)| record(*kind, id)).collect();
            let answer = of_payment("id", item, records).map(|answer| {
                let name = |status: Status| {
                    Status::NAMES.iter().find(|(_, known)| *known == status).unwrap().0
                };
                let others = answer.other_attempts.iter().flatten();
                let others =
                    others.map(|other| format!(" {} {}", name(other.status), other.request_id));
                format!(
                    "{} {}{}",
                    name(answer.status),
                    answer.request_id,
                    others.collect::<String>()
                )
            });
            assert_eq!(answer.unwrap_or_default(), expected);
        };
        check(None, &[], "");
        check(Some(item()), &[], "stored r-0");
        check(
            Some(item()),
            &[(Refused, "2"), (Held, "1"), (Duplicate, "3")],
            "stored r-0 refused 2 held 1 duplicate 3",
        );
        check(Some(item()), &[(Held, "r-0")], "stored r-0");
        check(None, &[(Refused, "2"), (Refused, "1")], "refused 2 refused 1");
        check(None, &[(Held, "2"), (Refused, "1")], "refused 1 held 2");
        check(None, &[(Held, "2"), (Held, "1")], "held 2 held 1");
        check(None, &[(Discarded, "2"), (Held, "1")], "held 1 discarded 2");
        check(None, &[(Discarded, "1")], "discarded 1");
    }

    #[test]
    fn an_answer_has_the_payment_as_submitted_and_nothing_of_ours() {
        let text = serde_json::to_string(&of_payment("id", Some(item()), Vec::new())).unwrap();
        assert!(text.contains(r#""payment":{"amount":"10.50","n":1.10}"#), "{text}");
        let held = of_payment("id", None, vec![record(Kind::Held, "1")]);
        let held = serde_json::to_string(&held).unwrap();
        assert_eq!(
            held,
            r#"{"status":"held","paymentId":"id","requestId":"1","bodyMd5":"md5","acceptedAt":"1970-01-01T00:00:00.000Z","decidedAt":"1970-01-01T00:00:01.000Z","message":"in words"}"#
        );
        let refused = of_payment("id", None, vec![record(Kind::Refused, "1")]);
        let refused = serde_json::to_string(&refused).unwrap();
        assert!(refused.contains(r#""reason":"table_not_found""#) && !refused.contains("secret"));
    }
}
