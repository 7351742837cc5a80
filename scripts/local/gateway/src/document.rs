//! The document as the gateway reads it. Every field of every object is listed, and an unlisted one
//! is an error: what this gateway does not know, it must not pretend to do. What only people read
//! is skipped; its fields begin with an underscore.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Types of a single value, the only one that this gateway knows.
macro_rules! only {
    ($($name:ident = $value:literal,)*) => {
        $(#[derive(Debug, Deserialize)]
        enum $name {
            #[serde(rename = $value)]
            Known,
        })*
    };
}

only! {
    OpenApiVersion = "3.0.1",
    OnlyPost = "POST",
    OnlyNever = "never",
    MockStatus = "{\"statusCode\":200}",
    OnlyApiKey = "apiKey",
    OnlyAuthorization = "Authorization",
    OnlyHeader = "header",
    OnlyCognito = "cognito_user_pools",
}

/// The rendered OpenAPI document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    #[serde(rename = "openapi")]
    _openapi: OpenApiVersion,
    #[serde(rename = "info")]
    _info: IgnoredAny,
    #[serde(rename = "tags")]
    _tags: Option<IgnoredAny>,
    #[serde(rename = "x-amazon-apigateway-request-validators")]
    pub(crate) validators: BTreeMap<String, RequestValidator>,
    pub(crate) paths: BTreeMap<String, BTreeMap<Verb, Operation>>,
    #[serde(rename = "x-amazon-apigateway-gateway-responses")]
    pub(crate) gateway_responses: BTreeMap<ResponseType, GatewayResponse>,
    pub(crate) components: Components,
}

/// What an operation checks before it calls its integration.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct RequestValidator {
    /// The body against its schema.
    pub(crate) validate_request_body: bool,
    /// The presence of required parameters.
    pub(crate) validate_request_parameters: bool,
}

/// The methods that the document can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verb {
    Get,
    Options,
    Put,
}

impl From<Verb> for Method {
    fn from(verb: Verb) -> Self {
        match verb {
            Verb::Get => Self::GET,
            Verb::Options => Self::OPTIONS,
            Verb::Put => Self::PUT,
        }
    }
}

/// One method of one path.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Operation {
    #[serde(rename = "operationId")]
    _operation_id: IgnoredAny,
    #[serde(rename = "summary")]
    _summary: Option<IgnoredAny>,
    #[serde(rename = "description")]
    _description: Option<IgnoredAny>,
    #[serde(rename = "tags")]
    _tags: Option<IgnoredAny>,
    /// The name of a [`RequestValidator`].
    #[serde(rename = "x-amazon-apigateway-request-validator")]
    pub(crate) validator: String,
    /// Security schemes, each with the scopes of which a token needs one.
    #[serde(default)]
    pub(crate) security: Vec<BTreeMap<String, Vec<String>>>,
    #[serde(default)]
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) request_body: Option<RequestBody>,
    /// The declared responses by status.
    pub(crate) responses: BTreeMap<String, DeclaredResponse>,
    #[serde(rename = "x-amazon-apigateway-integration")]
    pub(crate) integration: Integration,
}

/// A parameter. API Gateway checks that a required one is there, and nothing of its schema.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    #[serde(rename = "in")]
    pub(crate) location: Location,
    #[serde(default)]
    pub(crate) required: bool,
    #[serde(rename = "description")]
    _description: Option<IgnoredAny>,
    pub(crate) schema: Value,
    #[serde(rename = "example")]
    _example: Option<IgnoredAny>,
}

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Location {
    Header,
    Path,
    Query,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestBody {
    #[serde(rename = "description")]
    _description: Option<IgnoredAny>,
    #[serde(rename = "required")]
    _required: bool,
    pub(crate) content: JsonSpellings<MediaType>,
}

/// A map by content type in which only JSON is known.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OnlyJson<T> {
    #[serde(rename = "application/json")]
    pub(crate) json: T,
}

/// A map by content type in which only JSON is known, in several spellings that mean the same. So it
/// makes no difference whether somebody compares content types whole or without their parameters.
#[derive(Debug)]
pub(crate) struct JsonSpellings<T> {
    pub(crate) spellings: BTreeSet<String>,
    pub(crate) json: T,
}

impl<'de, T: Deserialize<'de> + PartialEq> Deserialize<'de> for JsonSpellings<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut entries = BTreeMap::<String, T>::deserialize(deserializer)?;
        let spellings: BTreeSet<String> = entries.keys().cloned().collect();
        if let Some(other) = spellings.iter().find(|spelling| !is_json(spelling)) {
            return Err(D::Error::custom(format!("an unknown content type, {other}")));
        }
        let json = entries.remove("application/json");
        let json = json.ok_or_else(|| D::Error::missing_field("application/json"))?;
        if let Some((other, _)) = entries.iter().find(|(_, entry)| **entry != json) {
            return Err(D::Error::custom(format!("{other} is not as application/json")));
        }
        Ok(Self { spellings, json })
    }
}

/// Whether a content type is JSON's, whatever its parameters: API Gateway uses nothing else of it
/// (Developer Guide, "Select a VTL mapping template").
pub(crate) fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MediaType {
    pub(crate) schema: Value,
    #[serde(rename = "example")]
    _example: Option<IgnoredAny>,
    #[serde(rename = "examples")]
    _examples: Option<IgnoredAny>,
}

/// A response that API Gateway can map an integration's response to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeclaredResponse {
    #[serde(rename = "description")]
    _description: IgnoredAny,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, IgnoredAny>,
    #[serde(rename = "content")]
    _content: Option<IgnoredAny>,
}

/// `x-amazon-apigateway-integration`.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Integration {
    /// A call to SQS's query protocol.
    Aws(AwsIntegration),
    /// A call to a function, which gets the whole request and makes the whole response.
    AwsProxy(ProxyIntegration),
    /// No call: a response made of the document alone.
    Mock(MockIntegration),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct AwsIntegration {
    #[serde(rename = "httpMethod")]
    _http_method: OnlyPost,
    pub(crate) uri: String,
    #[serde(rename = "credentials")]
    _credentials: String,
    #[serde(rename = "passthroughBehavior")]
    _passthrough_behavior: OnlyNever,
    pub(crate) timeout_in_millis: u64,
    pub(crate) request_parameters: BTreeMap<String, Static>,
    pub(crate) request_templates: JsonSpellings<String>,
    pub(crate) responses: BTreeMap<String, IntegrationResponse>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ProxyIntegration {
    #[serde(rename = "httpMethod")]
    _http_method: OnlyPost,
    pub(crate) uri: String,
    #[serde(rename = "credentials")]
    _credentials: String,
    pub(crate) timeout_in_millis: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct MockIntegration {
    #[serde(rename = "passthroughBehavior")]
    _passthrough_behavior: OnlyNever,
    #[serde(rename = "requestTemplates")]
    _request_templates: OnlyJson<MockStatus>,
    pub(crate) responses: OnlyDefault,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OnlyDefault {
    pub(crate) default: IntegrationResponse,
}

/// What an integration's answer becomes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct IntegrationResponse {
    #[serde(deserialize_with = "status")]
    pub(crate) status_code: StatusCode,
    #[serde(default)]
    pub(crate) response_parameters: BTreeMap<String, Static>,
    pub(crate) response_templates: Option<OnlyJson<String>>,
}

/// An entry of `x-amazon-apigateway-gateway-responses`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct GatewayResponse {
    #[serde(default, deserialize_with = "some_status")]
    pub(crate) status_code: Option<StatusCode>,
    #[serde(default)]
    pub(crate) response_parameters: BTreeMap<String, Static>,
    pub(crate) response_templates: OnlyJson<String>,
}

/// The kinds of answers that API Gateway gives without an integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ResponseType {
    AccessDenied,
    BadRequestBody,
    BadRequestParameters,
    #[serde(rename = "DEFAULT_4XX")]
    Default4xx,
    #[serde(rename = "DEFAULT_5XX")]
    Default5xx,
    IntegrationFailure,
    IntegrationTimeout,
    MissingAuthenticationToken,
    QuotaExceeded,
    RequestTooLarge,
    Throttled,
    Unauthorized,
    UnsupportedMediaType,
    WafFiltered,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Components {
    pub(crate) security_schemes: BTreeMap<String, SecurityScheme>,
    pub(crate) schemas: Value,
}

/// A Cognito authorizer; the only scheme there is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecurityScheme {
    #[serde(rename = "type")]
    _type: OnlyApiKey,
    #[serde(rename = "name")]
    _name: OnlyAuthorization,
    #[serde(rename = "in")]
    _in: OnlyHeader,
    #[serde(rename = "description")]
    _description: Option<IgnoredAny>,
    #[serde(rename = "x-amazon-apigateway-authtype")]
    _authtype: OnlyCognito,
    #[serde(rename = "x-amazon-apigateway-authorizer")]
    _authorizer: Authorizer,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Authorizer {
    #[serde(rename = "type")]
    _type: OnlyCognito,
    #[serde(rename = "providerARNs")]
    _provider_arns: Vec<String>,
}

/// A static value in single quotes, the only kind of parameter mapping that is known.
#[derive(Debug, Clone)]
pub(crate) struct Static(pub(crate) HeaderValue);

impl<'de> Deserialize<'de> for Static {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let value = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
        let value = value.ok_or_else(|| D::Error::custom("only static values are supported"))?;
        HeaderValue::from_str(value).map(Self).map_err(D::Error::custom)
    }
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StatusCode, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

fn some_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<StatusCode>, D::Error> {
    status(deserializer).map(Some)
}

impl Document {
    /// Reads the document.
    ///
    /// # Errors
    /// Anything in it that this gateway does not know.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        yaml_serde::from_str(text).context("reading the OpenAPI document")
    }
}

/// The headers of a map of parameters whose names all begin with `prefix`.
///
/// # Errors
/// A name with another beginning, or one that is no header name.
pub(crate) fn headers(
    parameters: BTreeMap<String, Static>,
    prefix: &str,
) -> Result<Vec<(HeaderName, HeaderValue)>> {
    let header = |(name, Static(value)): (String, Static)| {
        let name =
            name.strip_prefix(prefix).with_context(|| format!("unknown parameter {name}"))?;
        Ok((name.parse()?, value))
    };
    parameters.into_iter().map(header).collect()
}
