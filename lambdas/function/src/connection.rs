//! How a function reaches AWS: configuration by hand from the variables that Lambda sets, because the
//! SDK's loader would try profiles, metadata services and web identities first.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;

use crate::environment::{BadVariable, Environment};

/// Time to connect. A healthy endpoint of the same region answers in milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Time for one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// Attempts of one call, with the SDK's jittered backoff between them.
const ATTEMPTS_MAX: u32 = 3;

/// Idle connections kept. Fewer than the concurrency doubles the CPU time per message, because
/// connections are then made anew.
const IDLE_CONNECTIONS_MAX: usize = 512;

/// The function's own credentials and its region.
///
/// # Errors
/// A variable that Lambda always sets is missing.
pub fn identity(environment: &impl Environment) -> Result<(Credentials, String), BadVariable> {
    let credentials = Credentials::from_keys(
        environment.text("AWS_ACCESS_KEY_ID")?,
        environment.text("AWS_SECRET_ACCESS_KEY")?,
        environment.value("AWS_SESSION_TOKEN"),
    );
    Ok((credentials, environment.text("AWS_REGION")?))
}

/// The configuration shared by all SDK clients of a function, which use the connections of `http`.
/// `operation_timeout` bounds one call with all its attempts.
///
/// # Errors
/// As [`identity`].
pub fn sdk_config(
    environment: &impl Environment,
    http: &SharedHttpConnector,
    operation_timeout: Duration,
) -> Result<SdkConfig, BadVariable> {
    let (credentials, region) = identity(environment)?;
    let http = http.clone();
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(operation_timeout)
        .build();
    Ok(SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(region))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http_client_fn(move |_, _| http.clone()))
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
        .timeout_config(timeouts)
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .time_source(aws_smithy_async::time::SystemTimeSource::new())
        .build())
}

/// The one pool of connections of a function, for all its clients.
#[must_use]
pub fn http_connector() -> SharedHttpConnector {
    let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build();
    let connector = Connector::builder()
        .connector_settings(settings)
        .sleep_impl(TokioSleep::new())
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX);
    #[cfg(feature = "tls")]
    let connector = {
        use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
        connector.tls_provider(Provider::Rustls(CryptoMode::Ring)).build()
    };
    #[cfg(not(feature = "tls"))]
    let connector = connector.build_http();
    SharedHttpConnector::new(connector)
}
