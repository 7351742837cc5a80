//! Answers as API Gateway takes them from a function.

use std::collections::BTreeMap;

use schema::answer::Error;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::request::Invalid;

/// Bytes of an answer's digest that its ETag has.
const ETAG_BYTES: usize = 16;

/// Seconds after which a request that failed may be repeated.
const RETRY_AFTER_FAILURE: u32 = 5;

/// An answer (API Gateway Developer Guide, "Output format of a Lambda function for proxy integration").
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    status_code: u16,
    headers: BTreeMap<&'static str, String>,
    body: String,
}

/// What every response needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The origin whose pages may read the answer.
    pub allowed_origin: &'a str,
    /// The gateway's id of the request.
    pub request_id: &'a str,
}

impl Response {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status_code
    }

    /// 200 with this content, or 304 when the client has it already.
    ///
    /// # Panics
    /// A content that is no JSON: a defect of ours.
    pub fn found<'a>(
        context: Context<'_>,
        content: &impl Serialize,
        if_none_match: impl Iterator<Item = &'a str>,
    ) -> Response {
        let body = serde_json::to_string(content).expect("answers are JSON");
        let digest = Sha256::digest(&body);
        let digest = digest.iter().take(ETAG_BYTES).map(|byte| format!("{byte:02x}"));
        let etag = format!("\"{}\"", digest.collect::<String>());
        let mut tags = if_none_match.flat_map(|tags| tags.split(',')).map(str::trim);
        // For a comparison of this kind a weak tag is as good (RFC 9110, 13.1.2).
        let known = tags.any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag);
        let (status, body) = if known { (304, String::new()) } else { (200, body) };
        let mut response = Response::new(context, status, body);
        response.headers.insert("ETag", etag);
        // To be kept by the client itself only, and asked for again each time.
        response.headers.insert("Cache-Control", "private, no-cache".to_owned());
        response
    }

    /// 404: there is nothing yet. `message` says what to do, and `retry_after`, in seconds, when.
    #[must_use]
    pub fn not_found(context: Context<'_>, message: &str, retry_after: u32) -> Response {
        Response::error(context, 404, "not_found", message.to_owned(), None)
            .retry_after(retry_after)
    }

    /// 400: a parameter is wrong.
    #[must_use]
    pub fn invalid(context: Context<'_>, invalid: Invalid) -> Response {
        let message = invalid.to_string();
        Response::error(context, 400, "invalid_parameters", message, Some(invalid.field))
    }

    /// 401: nobody vouches for the user. The gateway lets no such request through.
    #[must_use]
    pub fn unauthorized(context: Context<'_>) -> Response {
        Response::error(context, 401, "unauthorized", "Unauthorized".to_owned(), None)
    }

    /// 503: what the answer is made of cannot be had now, as `message` says.
    #[must_use]
    pub fn unavailable(context: Context<'_>, message: &str) -> Response {
        let response = Response::error(context, 503, "unavailable", message.to_owned(), None);
        response.retry_after(RETRY_AFTER_FAILURE)
    }

    fn error(
        context: Context<'_>,
        status: u16,
        code: &str,
        message: String,
        field: Option<String>,
    ) -> Response {
        let request_id = context.request_id.to_owned();
        let error = Error { code: code.to_owned(), message, request_id, field };
        let body = serde_json::to_string(&error).expect("an error is JSON");
        Response::new(context, status, body)
    }

    fn new(context: Context<'_>, status_code: u16, body: String) -> Response {
        let mut headers = BTreeMap::from([
            ("Access-Control-Allow-Origin", context.allowed_origin.to_owned()),
            ("Access-Control-Expose-Headers", "ETag,Retry-After".to_owned()),
        ]);
        if !body.is_empty() {
            headers.insert("Content-Type", "application/json".to_owned());
        }
        Response { status_code, headers, body }
    }

    fn retry_after(mut self, seconds: u32) -> Response {
        self.headers.insert("Retry-After", seconds.to_string());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: Context<'_> =
        Context { allowed_origin: "https://example.com", request_id: "r-1" };

    #[test]
    fn an_answer_that_the_client_has_is_not_sent_again() {
        let content = ["x"];
        let found = |tags: &[&str]| Response::found(CONTEXT, &content, tags.iter().copied());
        let first = found(&[]);
        let tag = first.headers["ETag"].clone();
        assert_eq!((first.status(), first.body.as_str()), (200, r#"["x"]"#));
        let weak = format!("W/{tag}");
        let listed = format!("\"other\", {tag}");
        for tags in [&[tag.as_str()][..], &["*"], &[&weak], &[&listed], &["\"other\"", &tag]] {
            let again = found(tags);
            assert_eq!((again.status(), again.body.as_str()), (304, ""), "{tags:?}");
            assert_eq!(again.headers["ETag"], tag);
        }
        for tags in [&["\"other\""][..], &[tag.trim_matches('"')], &[""]] {
            assert_eq!(found(tags).status(), 200, "{tags:?}");
        }
        assert_ne!(Response::found(CONTEXT, &["y"], [].into_iter()).headers["ETag"], tag);
    }

    #[test]
    fn errors_have_the_uniform_body() {
        let invalid = Response::invalid(CONTEXT, Invalid::new("limit", "must be less"));
        assert_eq!(
            serde_json::to_string(&invalid).unwrap(),
            r#"{"statusCode":400,"headers":{"Access-Control-Allow-Origin":"https://example.com","Access-Control-Expose-Headers":"ETag,Retry-After","Content-Type":"application/json"},"body":"{\"code\":\"invalid_parameters\",\"message\":\"limit must be less\",\"requestId\":\"r-1\",\"field\":\"limit\"}"}"#
        );
        for (response, status, retry_after) in [
            (Response::not_found(CONTEXT, "", 21), 404, "21"),
            (Response::unavailable(CONTEXT, ""), 503, "5"),
        ] {
            assert_eq!(
                (response.status(), response.headers["Retry-After"].as_str()),
                (status, retry_after)
            );
        }
    }
}
