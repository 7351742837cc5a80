//! The first attempt of a put, past the SDK's orchestrator: it takes three quarters of a put's processor
//! time, and nearly every put succeeds at once.
//!
//! One request over the SDK's own connector, signed by its own signer. Only a complete answer of success is
//! taken; everything else says no more than that, and the put is made again by the SDK, which knows what an
//! answer means, what is worth another attempt, and when. That is safe because the put is conditional.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::{HttpConnector, SharedHttpConnector};
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_runtime_api::http::Request;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde::ser::{Error, Serialize, Serializer};
use tokio::time::timeout;

use crate::item::Item;

/// How long an answer may take before the SDK makes the put again.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(800);

/// The longest pause before the SDK makes a put again that the table could not take. The SDK's own first
/// pause at this table is up to 25 ms.
const PAUSE_MAX_US: u64 = 25_000;

/// Time for a connection that is made ahead.
const WARM_UP_TIMEOUT: Duration = Duration::from_secs(1);

/// The headers of a PutItem, beside those of the signature.
const HEADERS: [(&str, &str); 2] =
    [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "DynamoDB_20120810.PutItem")];

/// A way to the table past the SDK. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Direct {
    connector: SharedHttpConnector,
    identity: Identity,
    region: String,
    endpoint: String,
}

/// The region has no endpoint of DynamoDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("find the endpoint of DynamoDB")]
pub struct UnknownEndpoint;

/// What an attempt showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The item is stored.
    Stored,
    /// Nothing to be relied upon. The item may be stored all the same.
    Unclear,
}

impl Direct {
    /// A way to `endpoint`, or else to the region's own one.
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
        Ok(Direct { connector, identity: Identity::from(credentials), region, endpoint })
    }

    /// Makes a connection ahead, which needs no permission: at its root DynamoDB says how it is. When
    /// that fails, the first put makes one.
    pub async fn warm_up(&self) {
        let mut request = Request::new(SdkBody::empty());
        if request.set_uri(self.endpoint.as_str()).is_ok() {
            let _ = timeout(WARM_UP_TIMEOUT, self.send(request)).await;
        }
    }

    /// Stores an item on a condition. When it returns, the SDK may make the put again.
    pub(crate) async fn put(&self, table: &str, item: &Item, condition: &str) -> Attempt {
        let Some(request) = self.request(table, item, condition) else { return Attempt::Unclear };
        match timeout(ATTEMPT_TIMEOUT, self.send(request)).await {
            Ok(Some((200, body))) if is_object(&body) => Attempt::Stored,
            Ok(Some((400, body))) if condition_failed(&body) => Attempt::Unclear,
            Ok(_) | Err(_) => {
                let pause = Duration::from_micros(fastrand::u64(..PAUSE_MAX_US));
                tokio::time::sleep(pause).await;
                Attempt::Unclear
            }
        }
    }

    /// A signed PutItem (Amazon DynamoDB API Reference); `None` when there is none.
    fn request(&self, table: &str, item: &Item, condition: &str) -> Option<Request> {
        let input =
            PutItem { table_name: table, item: Attributes(item), condition_expression: condition };
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

    /// The status and the whole body of an answer; `None` when it did not come, or not whole.
    async fn send(&self, request: Request) -> Option<(u16, Vec<u8>)> {
        let answer = self.connector.call(request).await.ok()?;
        let status = answer.status().as_u16();
        let body = ByteStream::new(answer.into_body()).collect().await.ok()?;
        Some((status, body.to_vec()))
    }
}

fn is_object(body: &[u8]) -> bool {
    serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(body).is_ok()
}

/// Whether the item was there: no trouble of the table, so the SDK may ask for it at once.
fn condition_failed(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "__type")]
        error: String,
    }
    serde_json::from_slice::<Answer>(body)
        .is_ok_and(|answer| answer.error.ends_with("#ConditionalCheckFailedException"))
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutItem<'a> {
    table_name: &'a str,
    item: Attributes<'a>,
    condition_expression: &'a str,
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
