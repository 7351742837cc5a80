//! What is asked: a request, read into a question or refused with the parameter at fault.

use std::str::FromStr;
use std::time::Duration;

use function::proxy::{Invalid, Request, number};
use schema::answer::Status;
use schema::text::{CalendarDate, PaymentId};

/// The longest wait, in seconds: more than the batching window, less than API Gateway's 29.
pub const WAIT_SECONDS_MAX: u64 = 25;

/// Payments on a page, when nothing is said.
const LIMIT_DEFAULT: usize = 25;

/// Characters of the id of a request. Those that API Gateway gives have 16.
const REQUEST_ID_LENGTH_MAX: usize = 128;

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    /// What became of one payment.
    Payment {
        /// The payment.
        payment_id: PaymentId,
        /// The one submission that is asked about, if any.
        request_id: Option<String>,
        /// How long to wait for an outcome.
        wait: Duration,
    },
    /// A page of payments.
    Payments {
        /// Which ones.
        filter: Filter,
        /// Payments at the most.
        limit: usize,
        /// Where the page begins, as the client gave it; not checked yet.
        cursor: Option<String>,
    },
}

/// Which payments are listed. A cursor is good for one filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// What became of them.
    pub status: Status,
    /// The first moment (RFC 3339, UTC, milliseconds).
    pub from: String,
    /// The last moment.
    pub to: String,
}

impl Question {
    /// The question that a request asks, if it asks one.
    ///
    /// # Errors
    /// The first parameter that is unknown, given twice, or wrong.
    ///
    /// # Panics
    /// A route that the document does not lead here: a bad deployment, whose requests must fail.
    pub fn read(request: &Request) -> Result<Question, Invalid> {
        match request.resource() {
            "/payments/{paymentId}" => {
                let [request_id, wait] = request.parameters(["requestId", "wait"])?;
                let payment_id = PaymentId::from_str(request.path_parameter("paymentId"));
                Ok(Question::Payment {
                    payment_id: payment_id
                        .map_err(|_| Invalid::new("paymentId", "must be a lower-case UUID"))?,
                    request_id: request_id.map(checked_request_id).transpose()?,
                    wait: Duration::from_secs(number("wait", wait, 0..=WAIT_SECONDS_MAX, 0)?),
                })
            }
            "/payments" => {
                let [status, from, to, limit, cursor] =
                    request.parameters(["status", "from", "to", "limit", "cursor"])?;
                Ok(Question::Payments {
                    filter: filter(status, from, to)?,
                    limit: number("limit", limit, 1..=tables::query::PAGE_MAX, LIMIT_DEFAULT)?,
                    cursor: cursor.map(str::to_owned),
                })
            }
            unknown => panic!("no such route: {unknown}"),
        }
    }
}

fn filter(status: Option<&str>, from: Option<&str>, to: Option<&str>) -> Result<Filter, Invalid> {
    let status = match status {
        None => Status::Stored,
        Some(name) => {
            let known = Status::NAMES.iter().find(|(known, _)| *known == name);
            let rule = "must be stored, duplicate, refused, held or discarded";
            known.ok_or_else(|| Invalid::new("status", rule))?.1
        }
    };
    let from = day("from", from, "0000-01-01")?;
    let to = day("to", to, "9999-12-31")?;
    if from > to {
        return Err(Invalid::new("from", "must not be after to"));
    }
    Ok(Filter { status, from: format!("{from}T00:00:00.000Z"), to: format!("{to}T23:59:59.999Z") })
}

fn day(name: &str, value: Option<&str>, default: &str) -> Result<String, Invalid> {
    let Some(value) = value else { return Ok(default.to_owned()) };
    let day = CalendarDate::from_str(value);
    let day = day.map_err(|_| Invalid::new(name, "must be a date of the calendar, YYYY-MM-DD"))?;
    Ok(day.as_str().to_owned())
}

/// Ids of requests are API Gateway's, in base64, or the queue's, which are UUIDs. No id contains the
/// separator of a record's key.
fn checked_request_id(id: &str) -> Result<String, Invalid> {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
    let fits = (1..=REQUEST_ID_LENGTH_MAX).contains(&id.len()) && id.bytes().all(is_known);
    let invalid = || Invalid::new("requestId", "must be the requestId of an answer to PUT /submit");
    if fits { Ok(id.to_owned()) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn request(resource: &str, query: &Value) -> Request {
        of_payment("0b9f6a1e-6c1d-4a57-9f0e-2f6d3c1b8a90", resource, query)
    }

    fn of_payment(payment_id: &str, resource: &str, query: &Value) -> Request {
        serde_json::from_value(json!({
            "resource": resource,
            "path": "/ignored",
            "pathParameters": { "paymentId": payment_id },
            "multiValueQueryStringParameters": query,
            "multiValueHeaders": { "if-none-match": ["\"a\"", "\"b\""], "sub": ["other"] },
            "requestContext": {
                "requestId": "chosen by the client",
                "extendedRequestId": "r-1",
                "authorizer": { "claims": { "sub": "user-a", "scope": "payments/read" } },
            },
        }))
        .unwrap()
    }

    fn listed(query: &Value) -> Result<Question, Invalid> {
        Question::read(&request("/payments", query))
    }

    #[test]
    fn defaults_are_the_documents() {
        let filter = Filter {
            status: Status::Stored,
            from: "0000-01-01T00:00:00.000Z".to_owned(),
            to: "9999-12-31T23:59:59.999Z".to_owned(),
        };
        let expected = Question::Payments { filter, limit: 25, cursor: None };
        assert_eq!(listed(&Value::Null), Ok(expected));
        let one = Question::read(&request("/payments/{paymentId}", &Value::Null));
        let Ok(Question::Payment { payment_id, request_id, wait }) = one else { panic!("{one:?}") };
        assert_eq!(request_id, None);
        assert_eq!(payment_id.as_str(), "0b9f6a1e-6c1d-4a57-9f0e-2f6d3c1b8a90");
        assert_eq!(wait, Duration::ZERO);
    }

    #[test]
    fn a_submission_is_asked_for_by_the_id_of_its_request() {
        for id in ["UZKf3U9pTu2ejw0=", "a+b/c=", "0b9f6a1e-6c1d-4a57-9f0e-2f6d3c1b8a90"] {
            let asked = request("/payments/{paymentId}", &json!({ "requestId": [id] }));
            let asked = Question::read(&asked);
            let Ok(Question::Payment { request_id, .. }) = asked else { panic!("{asked:?}") };
            assert_eq!(request_id.as_deref(), Some(id));
        }
    }

    #[test]
    fn days_are_whole_and_include_both() {
        let query = json!({ "from": ["2026-11-20"], "to": ["2026-11-20"], "status": ["held"] });
        let Ok(Question::Payments { filter, .. }) = listed(&query) else { panic!() };
        assert_eq!(filter.status, Status::Held);
        assert_eq!(filter.from, "2026-11-20T00:00:00.000Z");
        assert_eq!(filter.to, "2026-11-20T23:59:59.999Z");
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        for (query, field) in [
            (json!({ "limit": ["0"] }), "limit"),
            (json!({ "limit": ["101"] }), "limit"),
            (json!({ "limit": ["+1"] }), "limit"),
            (json!({ "limit": ["1 "] }), "limit"),
            (json!({ "limit": [""] }), "limit"),
            (json!({ "limit": ["1", "2"] }), "limit"),
            (json!({ "limit": ["99999999999999999999999"] }), "limit"),
            (json!({ "status": ["Stored"] }), "status"),
            (json!({ "status": ["stored,held"] }), "status"),
            (json!({ "from": ["2026-02-30"] }), "from"),
            (json!({ "from": ["2026-11-20T00:00:00Z"] }), "from"),
            (json!({ "to": ["yesterday"] }), "to"),
            (json!({ "from": ["2026-11-21"], "to": ["2026-11-20"] }), "from"),
            (json!({ "userId": ["user-b"] }), "userId"),
            (json!({ "wait": ["1"] }), "wait"),
            (json!({ "<script>": ["1"] }), "query"),
        ] {
            assert_eq!(listed(&query).unwrap_err().field, field, "{query}");
        }
        for (query, field) in [
            (json!({ "wait": ["26"] }), "wait"),
            (json!({ "wait": ["-1"] }), "wait"),
            (json!({ "wait": ["1.5"] }), "wait"),
            (json!({ "requestId": [""] }), "requestId"),
            (json!({ "requestId": ["a#b"] }), "requestId"),
            (json!({ "requestId": ["a b"] }), "requestId"),
            (json!({ "requestId": ["a", "a"] }), "requestId"),
            (json!({ "requestId": ["x".repeat(129)] }), "requestId"),
            (json!({ "limit": ["1"] }), "limit"),
        ] {
            let error = Question::read(&request("/payments/{paymentId}", &query)).unwrap_err();
            assert_eq!(error.field, field, "{query}");
        }
    }

    #[test]
    fn a_payment_id_is_a_lower_case_uuid_and_never_repeated() {
        for id in ["", "x", "0B9F6A1E-6C1D-4A57-9F0E-2F6D3C1B8A90", "a#b", "../x"] {
            let request = of_payment(id, "/payments/{paymentId}", &Value::Null);
            let error = Question::read(&request).unwrap_err();
            assert_eq!(error.to_string(), "paymentId must be a lower-case UUID");
        }
    }
}
