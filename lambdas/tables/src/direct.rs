//! The first attempt of a put, past the SDK's orchestrator: without it a record takes 47 instead of 86 µs of
//! processor time in all (`scripts/bench/README.md`), and nearly every put succeeds at once.
//!
//! One request over the SDK's own connector, signed by its own signer. Only a complete answer of success is
//! taken. Everything else is given to the SDK as if its own first attempt had brought it: the SDK knows what
//! an answer means, what is worth another attempt, and when. So no put is asked for more often than before.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use aws_smithy_runtime_api::client::connection::CaptureSmithyConnection;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::{Request, Response};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use serde::de::IgnoredAny;
use serde::ser::{Error, Serialize, Serializer};
use tokio::time::timeout;

use crate::item::Item;

/// How long an answer may take before the SDK hears of a timeout.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(800);

/// What the SDK's quota of retries gains each second: it has 500, a retry takes 5 or 10. The SDK adds one for
/// each of its own puts that succeeds at once; of those that succeed here it does not know, and a quota that
/// an outage has emptied would stay empty.
const QUOTA_PER_SECOND: f32 = 50.0;

/// Time for the first connection, which is made before there is a put.
const WARM_UP_TIMEOUT: Duration = Duration::from_secs(1);

/// The headers of a PutItem, beside those of the signature.
const HEADERS: [(&str, &str); 2] =
    [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "DynamoDB_20120810.PutItem")];

/// Sends puts to the table without the SDK's orchestrator. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Direct {
    connector: SharedHttpConnector,
    identity: Identity,
    region: String,
    endpoint: String,
    quota: RetryPartition,
}

/// The region has no endpoint of DynamoDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("find the endpoint of DynamoDB")]
pub struct UnknownEndpoint;

/// What the table said to an attempt, or why it said nothing.
type Answer = Result<Response, ConnectorError>;

/// What an attempt led to.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// The item is stored.
    Stored,
    /// An answer or error that the SDK must judge, with its connection, which the SDK closes when the error
    /// is the connection's. The item may be stored all the same.
    Unclear(Box<(Answer, CaptureSmithyConnection)>),
    /// No request was sent.
    Unsigned,
}

impl Direct {
    /// Puts go to `endpoint`, or else to the region's own endpoint.
    ///
    /// # Errors
    /// The region has none.
    pub async fn new(
        connector: SharedHttpConnector,
        (credentials, region): (Credentials, String),
        endpoint: Option<String>,
    ) -> Result<Direct, UnknownEndpoint> {
        let params = Params::builder().region(region.clone()).set_endpoint(endpoint).build();
        let params = params.map_err(|_| UnknownEndpoint)?;
        let resolved = DefaultResolver::new().resolve_endpoint(&params).await;
        let resolved = resolved.map_err(|_| UnknownEndpoint)?;
        let endpoint = format!("{}/", resolved.url().trim_end_matches('/'));
        let quota = TokenBucket::builder().refill_rate(QUOTA_PER_SECOND).build();
        let quota = RetryPartition::custom("puts").token_bucket(quota).build();
        Ok(Direct { connector, identity: Identity::from(credentials), region, endpoint, quota })
    }

    /// Makes the first connection before there is a put, with a request that needs no permission: anybody
    /// may ask DynamoDB for its health at the path `/`. When that fails, the first put connects.
    pub async fn warm_up(&self) {
        let mut request = Request::new(SdkBody::empty());
        if request.set_uri(self.endpoint.as_str()).is_ok() {
            let _ = timeout(WARM_UP_TIMEOUT, self.send(request)).await;
        }
    }

    /// Stores an item on a condition.
    pub(crate) async fn put(&self, table: &str, item: &Item, condition: &str) -> Attempt {
        let Some(mut request) = self.request(table, item, condition) else {
            return Attempt::Unsigned;
        };
        let connection = CaptureSmithyConnection::new();
        request.add_extension(connection.clone());
        let unclear = |answer| Attempt::Unclear(Box::new((answer, connection)));
        match timeout(ATTEMPT_TIMEOUT, self.send(request)).await {
            Ok(Ok(answer)) if !answer.status().is_success() => unclear(Ok(answer)),
            Ok(Ok(answer)) if answer.status().as_u16() == 200 && is_object(&answer) => {
                Attempt::Stored
            }
            Ok(Ok(_)) => unclear(Err(ConnectorError::io("half an answer".into()))),
            Ok(Err(error)) => unclear(Err(error)),
            Err(late) => unclear(Err(ConnectorError::timeout(late.into()))),
        }
    }

    /// The configuration of an SDK put whose first attempt was made here.
    pub(crate) fn after(&self, made: (Answer, CaptureSmithyConnection)) -> Builder {
        let made = Mutex::new(Some(made));
        let resumed = SharedHttpConnector::new(Resumed { made, connector: self.connector.clone() });
        aws_sdk_dynamodb::config::Config::builder()
            .http_client(http_client_fn(move |_, _| resumed.clone()))
            .retry_partition(self.quota.clone())
    }

    /// A signed PutItem (Amazon DynamoDB API Reference); `None` when it cannot be built or signed.
    fn request(&self, table: &str, item: &Item, condition: &str) -> Option<Request> {
        let input = PutItem {
            table_name: table,
            item: Attributes(item),
            condition_expression: condition,
            return_values_on_condition_check_failure: "ALL_OLD",
        };
        let body = serde_json::to_vec(&input).ok()?;
        let signature = v4::SigningParams::builder()
            .identity(&self.identity)
            .region(&self.region)
            .name("dynamodb")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .ok()?
            .into();
        let signable = SignableRequest::new(
            "POST",
            self.endpoint.as_str(),
            HEADERS.into_iter(),
            SignableBody::Bytes(&body),
        );
        let (instructions, _) = sign(signable.ok()?, &signature).ok()?.into_parts();
        let mut request = Request::new(SdkBody::from(body));
        request.set_method("POST").ok()?;
        request.set_uri(self.endpoint.as_str()).ok()?;
        let (signed, _) = instructions.into_parts();
        let signed = signed.into_iter().map(|header| (header.name(), header.value().to_owned()));
        for (name, value) in
            HEADERS.map(|(name, value)| (name, value.to_owned())).into_iter().chain(signed)
        {
            request.headers_mut().insert(name, value);
        }
        Some(request)
    }

    /// Sends a request and reads its whole answer.
    async fn send(&self, request: Request) -> Answer {
        let mut answer = self.connector.call(request).await?;
        let body = ByteStream::new(answer.take_body()).collect().await;
        let body = body.map_err(|error| ConnectorError::io(error.into()))?;
        *answer.body_mut() = SdkBody::from(body.into_bytes());
        Ok(answer)
    }
}

/// What the SDK takes for its network when the first attempt has been made here: its own first attempt gets
/// the answer that this one got, and all further ones go over the network.
#[derive(Debug)]
struct Resumed {
    made: Mutex<Option<(Answer, CaptureSmithyConnection)>>,
    connector: SharedHttpConnector,
}

impl HttpConnector for Resumed {
    fn call(&self, request: Request) -> HttpConnectorFuture {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((answer, connection)) = made else { return self.connector.call(request) };
        if let Some(asked) = request.extension::<CaptureSmithyConnection>() {
            asked.set_connection_retriever(move || connection.get());
        }
        HttpConnectorFuture::ready(answer)
    }
}

fn is_object(answer: &Response) -> bool {
    let body = answer.body().bytes().unwrap_or_default();
    serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(body).is_ok()
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutItem<'a> {
    table_name: &'a str,
    item: Attributes<'a>,
    condition_expression: &'a str,
    return_values_on_condition_check_failure: &'a str,
}

/// Attributes in DynamoDB's JSON.
struct Attributes<'a>(&'a Item);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, Attribute(value))))
    }
}

struct Attribute<'a>(&'a AttributeValue);

impl Serialize for Attribute<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            AttributeValue::S(text) => serializer.collect_map([("S", text)]),
            AttributeValue::N(number) => serializer.collect_map([("N", number)]),
            AttributeValue::Bool(value) => serializer.collect_map([("BOOL", value)]),
            AttributeValue::Null(value) => serializer.collect_map([("NULL", value)]),
            AttributeValue::L(items) => {
                let items: Vec<_> = items.iter().map(Attribute).collect();
                serializer.collect_map([("L", items)])
            }
            AttributeValue::M(members) => serializer.collect_map([("M", Attributes(members))]),
            _ => Err(S::Error::custom("a type that no body has")),
        }
    }
}
