//! What the tables say of a submission, and what this tool writes into them: that a submission is held, that
//! it is discarded, or that it is a duplicate.
//!
//! A submission is one request that submitted a payment. A client may submit the same payment several times.
//! A submission is
//! - **stored** when the item of its payment names its request;
//! - **refused** when a record of its request says so;
//! - a **duplicate** when another request has stored the same payment. Items never change, so this is certain
//!   even before a function has compared the two;
//! - **open** when it is none of these. A record may say that it is held or discarded.
//!
//! Nothing is ever written about a submission that is stored or refused.

use schema::canonical;
use schema::envelope::SCHEMA_VERSION;
use schema::json::parse_object;
use schema::payment::readable_payment_id;
use schema::text::PaymentId;
use tables::record::Because;
use tables::{Failure, Kind, PaymentItem, PaymentsTable, Record, Submission};

use crate::clock::{ms_of, now_ms};
use crate::dlq::letter::Letter;

/// A submission of a verified user, as a letter or a record describes it.
#[derive(Clone)]
pub(crate) struct Submitted<'a> {
    user_id: &'a str,
    payment_id: Option<String>,
    submission: Submission,
    body: &'a str,
}

/// How a submission stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    /// The payment's item, whichever request stored it.
    pub(crate) item: Option<PaymentItem>,
    /// The record of the request.
    pub(crate) record: Option<Record>,
    /// What follows from both.
    pub(crate) outcome: Outcome,
}

/// What became of a submission.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its payment is stored, by its own request.
    Stored,
    /// Its payment was stored by another request.
    Duplicate,
    /// It is refused, on record, for this reason.
    Refused(String),
    /// None of these so far.
    #[default]
    Open,
}

/// Why a submission will not be processed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// An operator discarded it.
    ByOperator,
    /// The queue has deleted its message, because nobody sent it back in time.
    Expired,
}

impl<'a> Submitted<'a> {
    /// The submission of a letter; `None` where its user is not verified.
    pub(crate) fn by_letter(letter: &'a Letter) -> Option<Submitted<'a>> {
        let envelope = &letter.envelope;
        let payment_id = readable_payment_id(&letter.body);
        Some(Submitted {
            user_id: envelope.sub.as_deref()?,
            payment_id: payment_id.as_ref().map(PaymentId::as_str).map(str::to_owned),
            submission: Submission {
                request_id: letter.request_id().to_owned(),
                message_id: letter.original_message_id().to_owned(),
                accepted_at_ms: letter.first_seen_ms(),
                body_md5: letter.body_md5(),
                schema_version: envelope.schema_version.unwrap_or(SCHEMA_VERSION),
            },
            body: &letter.body,
        })
    }

    /// The submission of a record; `None` where the record has no body.
    pub(crate) fn by_record(record: &'a Record) -> Option<Submitted<'a>> {
        let accepted_at = humantime::parse_rfc3339(&record.accepted_at);
        Some(Submitted {
            user_id: &record.user_id,
            payment_id: record.payment_id.clone(),
            submission: Submission {
                request_id: record.request_id.clone(),
                message_id: record.message_id.clone(),
                accepted_at_ms: accepted_at.map(ms_of).unwrap_or_default(),
                body_md5: record.body_md5.clone(),
                // A record does not name it.
                schema_version: SCHEMA_VERSION,
            },
            body: record.body.as_deref()?,
        })
    }

    /// User, paymentId and request id: the key of its record.
    pub(crate) fn key(&self) -> (String, Option<String>, String) {
        let request_id = self.submission.request_id.clone();
        (self.user_id.to_owned(), self.payment_id.clone(), request_id)
    }

    /// Asks the tables.
    ///
    /// # Errors
    /// A table does not answer.
    pub(crate) async fn standing(&self, tables: &PaymentsTable) -> Result<Standing, Failure> {
        let payment_id = self.payment_id.as_deref();
        let item = match payment_id {
            Some(payment_id) => tables.payment(self.user_id, payment_id).await?,
            None => None,
        };
        let request_id = &self.submission.request_id;
        let record = tables.record_of(self.user_id, payment_id, request_id).await?;
        let outcome = self.outcome(item.as_ref(), record.as_ref());
        Ok(Standing { item, record, outcome })
    }

    fn outcome(&self, item: Option<&PaymentItem>, record: Option<&Record>) -> Outcome {
        if item.is_some_and(|item| item.request_id == self.submission.request_id) {
            return Outcome::Stored;
        }
        match record.map(|record| (record.kind, &record.reason)) {
            Some((Kind::Refused, reason)) => return Outcome::Refused(reason.clone()),
            Some((Kind::Duplicate, _)) => return Outcome::Duplicate,
            Some((Kind::Held | Kind::Discarded, _)) | None => {}
        }
        let body = parse_object(self.body).ok();
        let is_same = |item: &PaymentItem| {
            body.is_some_and(|body| canonical::differences(&item.body, &body).is_empty())
        };
        if item.is_some_and(is_same) { Outcome::Duplicate } else { Outcome::Open }
    }

    /// Puts on record that it is held, unless it has an outcome. Its client is then told that it waits for
    /// an operator.
    ///
    /// # Errors
    /// A table does not answer.
    pub(crate) async fn record_held(
        &self,
        tables: &PaymentsTable,
        why: &str,
    ) -> Result<(), Failure> {
        match self.standing(tables).await?.outcome {
            Outcome::Stored | Outcome::Duplicate | Outcome::Refused(_) => Ok(()),
            Outcome::Open => {
                let record = self.record(Kind::Held, why, "held for an operator", true);
                tables.record(&record).await
            }
        }
    }

    /// Puts on record that it is discarded, or that it is a duplicate, unless it has another outcome.
    ///
    /// # Errors
    /// A table does not answer.
    pub(crate) async fn record_ended(
        &self,
        tables: &PaymentsTable,
        end: End,
    ) -> Result<(), Failure> {
        let standing = self.standing(tables).await?;
        let record = match standing.outcome {
            Outcome::Stored | Outcome::Refused(_) => return Ok(()),
            Outcome::Duplicate => {
                let md5 = standing.item.map(|item| item.body_md5);
                let is_other_bytes = md5.as_ref() != Some(&self.submission.body_md5);
                let words = "the same payment is stored; another request submitted it";
                self.record(Kind::Duplicate, Kind::Duplicate.name(), words, is_other_bytes)
            }
            Outcome::Open => self.record(Kind::Discarded, end.name(), end.words(), true),
        };
        tables.record(&record).await
    }

    fn record(&self, kind: Kind, reason: &str, message: &str, has_body: bool) -> Record {
        // A newer function may have written a reason that this version does not know. `Because` takes only
        // known ones, so the letter's own is put in afterwards.
        let because =
            Because { kind, reason: kind.name(), message: message.to_owned(), fields: Vec::new() };
        let body = has_body.then_some(self.body);
        let payment_id = self.payment_id.as_deref();
        let record =
            Record::new(self.user_id, payment_id, &self.submission, body, because, now_ms());
        Record { reason: reason.to_owned(), ..record }
    }
}

impl End {
    fn name(self) -> &'static str {
        match self {
            End::ByOperator => "by_operator",
            End::Expired => "expired",
        }
    }

    /// What the client is told.
    fn words(self) -> &'static str {
        match self {
            End::ByOperator => "an operator discarded it: it was not processed and will not be",
            End::Expired => {
                "it could not be processed in time: it was not processed and will not be"
            }
        }
    }
}

/// How the submission of a letter stands. It is open where the user is not verified: no table is asked.
///
/// # Errors
/// A table does not answer.
pub(crate) async fn standing_of(
    tables: &PaymentsTable,
    letter: &Letter,
) -> Result<Standing, Failure> {
    match Submitted::by_letter(letter) {
        Some(submitted) => submitted.standing(tables).await,
        None => Ok(Standing::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::letter::tests::letter;

    const BODY: &str = r#"{"paymentId":"p","userId":"u","amount":"10.50"}"#;

    fn item(request: &str, body: &str) -> Option<PaymentItem> {
        Some(PaymentItem {
            request_id: request.to_owned(),
            body_md5: String::new(),
            accepted_at: String::new(),
            stored_at: String::new(),
            body: parse_object(body).unwrap(),
        })
    }

    #[test]
    fn an_outcome_is_known_by_the_request() {
        let letter = letter("m", BODY, &[("sub", "u"), ("requestId", "r")], false);
        let submitted = Submitted::by_letter(&letter).unwrap();
        let record = |kind| Some(submitted.record(kind, "conflict", "", true));
        let other = BODY.replace("10.50", "11");
        let spelled = BODY.replace("10.50", "10.5");
        let refused = || Outcome::Refused("conflict".to_owned());
        for (item, record, expected) in [
            (None, None, Outcome::Open),
            (None, record(Kind::Held), Outcome::Open),
            (None, record(Kind::Discarded), Outcome::Open),
            (item("r", BODY), record(Kind::Held), Outcome::Stored),
            (item("r", BODY), record(Kind::Discarded), Outcome::Stored),
            (item("s", &spelled), None, Outcome::Duplicate),
            (item("s", &other), record(Kind::Duplicate), Outcome::Duplicate),
            (item("s", &other), None, Outcome::Open),
            (item("s", &other), record(Kind::Held), Outcome::Open),
            (item("s", &other), record(Kind::Refused), refused()),
            (None, record(Kind::Refused), refused()),
        ] {
            assert_eq!(submitted.outcome(item.as_ref(), record.as_ref()), expected);
        }
    }

    #[test]
    fn a_record_tells_of_the_same_submission_as_its_letter() {
        let texts = [("sub", "u"), ("requestId", "r"), ("acceptedAt", "1700000000123")];
        let payment = BODY.replace(r#""p""#, r#""0b6e1d4c-3f52-4a8e-9d57-2c1f0a9b8e7d""#);
        for body in [payment.as_str(), "no json"] {
            let letter = letter("m", body, &texts, false);
            let by_letter = Submitted::by_letter(&letter).unwrap();
            let held = by_letter.record(Kind::Held, "throttled", "held for an operator", true);
            let by_record = Submitted::by_record(&held).unwrap();
            let gone = |submitted: &Submitted<'_>| {
                let gone = submitted.record(Kind::Discarded, "expired", "words", true);
                (gone.payment_and_request, gone.accepted_at, gone.body, gone.held_at)
            };
            assert_eq!(gone(&by_record), gone(&by_letter));
            assert_eq!(by_record.key(), by_letter.key());
        }
        assert!(Submitted::by_letter(&letter("m", &payment, &[], false)).is_none());
    }
}
