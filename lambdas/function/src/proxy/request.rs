//! A request as API Gateway hands it to a function.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::Deserialize;

/// Letters of a parameter's name that an answer repeats.
const NAME_LENGTH_MAX: usize = 40;

/// The part of API Gateway's proxy event that counts (API Gateway Developer Guide, "Input format of a
/// Lambda function for proxy integration"). `aws_lambda_events` has the whole of it but for the extended
/// request id, the one that a client cannot choose.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    resource: String,
    path_parameters: Option<BTreeMap<String, String>>,
    multi_value_query_string_parameters: Option<BTreeMap<String, Vec<String>>>,
    multi_value_headers: Option<BTreeMap<String, Vec<String>>>,
    request_context: RequestContext,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    extended_request_id: Option<String>,
    authorizer: Option<Authorizer>,
}

#[derive(Debug, Deserialize)]
struct Authorizer {
    claims: Option<Claims>,
}

#[derive(Debug, Deserialize)]
struct Claims {
    sub: Option<String>,
}

/// Why a request is not answered; the client's error.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {rule}")]
pub struct Invalid {
    /// The parameter at fault.
    pub field: String,
    /// What it must be.
    pub rule: String,
}

impl Invalid {
    /// A parameter and its rule.
    #[must_use]
    pub fn new(field: &str, rule: impl Into<String>) -> Invalid {
        Invalid { field: field.to_owned(), rule: rule.into() }
    }
}

impl Request {
    /// The verified user: the subject of the token that the gateway's authorizer checked. Nothing else
    /// in a request can name one.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        let claims = self.request_context.authorizer.as_ref()?.claims.as_ref()?;
        claims.sub.as_deref().filter(|sub| !sub.is_empty())
    }

    /// The gateway's id of the request.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.request_context.extended_request_id.as_deref().unwrap_or_default()
    }

    /// The path as the document has it.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// All values of the header If-None-Match.
    pub fn if_none_match(&self) -> impl Iterator<Item = &str> {
        let headers = self.multi_value_headers.iter().flatten();
        let ours = headers.filter(|(name, _)| name.eq_ignore_ascii_case("if-none-match"));
        ours.flat_map(|(_, values)| values).map(String::as_str)
    }

    /// A part of the path, by its name in the document; empty where the document has none of that name.
    #[must_use]
    pub fn path_parameter(&self, name: &str) -> &str {
        let value = self.path_parameters.as_ref().and_then(|path| path.get(name));
        value.map(String::as_str).unwrap_or_default()
    }

    /// The values of these query parameters; there must be no others, and none twice: a parameter that
    /// is passed over would show the client something else than it asked for.
    ///
    /// # Errors
    /// The first parameter that is unknown or given twice.
    pub fn parameters<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<&str>; N], Invalid> {
        let mut values = [None; N];
        for (name, given) in self.multi_value_query_string_parameters.iter().flatten() {
            let plain =
                name.len() <= NAME_LENGTH_MAX && name.bytes().all(|b| b.is_ascii_alphanumeric());
            let Some(index) = names.iter().position(|known| known == name) else {
                let field = if plain { name } else { "query" };
                return Err(Invalid::new(field, "is not a known parameter"));
            };
            let [value] = &given[..] else {
                return Err(Invalid::new(name, "must not be given more than once"));
            };
            values[index] = Some(value.as_str());
        }
        Ok(values)
    }
}

/// A parameter's number, or `default` where it is not given.
///
/// # Errors
/// When it is no whole number, or out of range.
pub fn number<T: FromStr + PartialOrd + Display + Copy>(
    name: &str,
    value: Option<&str>,
    range: RangeInclusive<T>,
    default: T,
) -> Result<T, Invalid> {
    let Some(value) = value else { return Ok(default) };
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let number = value.parse().ok().filter(|number| digits && range.contains(number));
    let rule = || format!("must be a whole number from {} to {}", range.start(), range.end());
    number.ok_or_else(|| Invalid::new(name, rule()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_user_is_the_verified_subject_and_nothing_else() {
        let read = |context: Value| -> Request {
            serde_json::from_value(json!({
                "resource": "/payments",
                "multiValueHeaders": { "sub": ["x"], "x-amzn-oidc-identity": ["x"] },
                "multiValueQueryStringParameters": { "sub": ["x"], "userId": ["x"] },
                "requestContext": context,
            }))
            .unwrap()
        };
        let verified = json!({ "authorizer": { "claims": { "sub": "user-a" } } });
        assert_eq!(read(verified).user(), Some("user-a"));
        for context in [
            json!({}),
            json!({ "authorizer": null }),
            json!({ "authorizer": { "sub": "x", "principalId": "x" } }),
            json!({ "authorizer": { "claims": {} } }),
            json!({ "authorizer": { "claims": { "sub": "" } } }),
            json!({ "identity": { "user": "x" }, "sub": "x" }),
        ] {
            assert_eq!(read(context).user(), None);
        }
    }
}
