//! Where the queues and the tables are: a pipeline of this machine, or an AWS account.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use clap::Args;
use ready::{LOG_FILE, Ready};
use serde_json::{Value, json};
use tables::PaymentsTable;

use crate::error::Error;

/// The longest that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest that one attempt of a call may take. The longest wait for messages is shorter.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Attempts of one call. The SDK waits between them, longer each time, with jitter.
const ATTEMPTS_MAX: u32 = 5;

/// The audit log's file name, unless another one is given.
const AUDIT_FILE: &str = "dlq-audit.ndjson";

/// Where the queues and tables are. What these flags do not say, the Terraform outputs say.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Where")]
pub struct Where {
    /// Work on the pipeline that `cargo local` runs on this machine.
    #[arg(long, global = true)]
    local: bool,

    /// The data directory of that pipeline.
    #[arg(long, value_name = "PATH", default_value = "target/local", global = true)]
    data_dir: PathBuf,

    /// The main queue, from which the functions take payments.
    #[arg(long, value_name = "URL", global = true)]
    queue_url: Option<String>,

    /// The dead-letter queue.
    #[arg(long, value_name = "URL", global = true)]
    dead_letter_queue_url: Option<String>,

    /// The table of payments.
    #[arg(long, value_name = "NAME", global = true)]
    payments_table: Option<String>,

    /// The table of payments that were refused or discarded, or are held for an operator.
    #[arg(long, value_name = "NAME", global = true)]
    refusals_table: Option<String>,

    /// The Terraform root whose outputs name what these flags do not say.
    #[arg(long, value_name = "PATH", default_value = "infra", global = true)]
    infra: PathBuf,

    /// The profile of the AWS configuration.
    #[arg(long, value_name = "NAME", global = true)]
    profile: Option<String>,

    /// The AWS region.
    #[arg(long, value_name = "NAME", global = true)]
    region: Option<String>,

    /// The audit log [default: dlq-audit.ndjson in ~/.local/state/remit, with --local in the data
    /// directory].
    #[arg(long, value_name = "FILE", global = true)]
    audit_log: Option<PathBuf>,
}

/// The queues and the tables, with clients for them.
#[derive(Debug)]
pub struct Place {
    /// Client of both queues.
    pub sqs: aws_sdk_sqs::Client,
    /// The main queue.
    pub queue_url: String,
    /// The dead-letter queue.
    pub dead_letter_queue_url: String,
    /// The tables, where they are known.
    pub tables: Option<PaymentsTable>,
    /// The audit log.
    pub audit_log: PathBuf,
    /// Where the functions log.
    pub logs: Logs,
    sdk: SdkConfig,
}

/// Where the functions log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logs {
    /// In this file.
    File(PathBuf),
    /// In CloudWatch.
    CloudWatch,
}

impl Place {
    /// Finds everything, without calling any service yet.
    ///
    /// # Errors
    /// [`Error::Configuration`] says what is missing.
    pub async fn find(flags: &Where) -> Result<Place, Error> {
        if flags.local { local(flags) } else { deployed(flags).await }
    }

    /// The tables, which are needed to do this.
    ///
    /// # Errors
    /// They are not known.
    pub(crate) fn tables_to(&self, purpose: &str) -> Result<&PaymentsTable, Error> {
        self.tables.as_ref().ok_or_else(|| {
            Error::configuration(format!(
                "to {purpose}, give --payments-table and --refusals-table"
            ))
        })
    }

    /// Who works here, for the audit log: the user of this machine and, in AWS, the principal.
    pub async fn who(&self) -> Value {
        let user = ["LOGNAME", "USER"].iter().find_map(|name| std::env::var(name).ok());
        let principal = match &self.logs {
            Logs::File(_) => None,
            // The audit log must not depend on one more service. If this one does not answer, the line
            // names only the user of this machine.
            Logs::CloudWatch => {
                let identity = aws_sdk_sts::Client::new(&self.sdk).get_caller_identity();
                identity.send().await.ok().and_then(|identity| identity.arn)
            }
        };
        json!({ "user": user, "principal": principal })
    }
}

fn local(flags: &Where) -> Result<Place, Error> {
    let ready = read_ready(&flags.data_dir)?;
    let sdk = |endpoint: &str| {
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(
                Credentials::from_keys("local", "local", None),
            ))
            .http_client(Builder::new().build_http())
            .endpoint_url(endpoint)
            .build()
    };
    let (queue, table) = (sdk(&ready.queue), sdk(&ready.table));
    let audit_log = || flags.data_dir.join(AUDIT_FILE);
    Ok(Place {
        sqs: aws_sdk_sqs::Client::new(&queue),
        queue_url: ready.queue_url,
        dead_letter_queue_url: ready.dead_letter_queue_url,
        tables: Some(PaymentsTable::new(
            aws_sdk_dynamodb::Client::new(&table),
            ready.payments_table,
            ready.refusals_table,
        )),
        audit_log: flags.audit_log.clone().unwrap_or_else(audit_log),
        logs: Logs::File(flags.data_dir.join(LOG_FILE)),
        sdk: queue,
    })
}

/// The addresses of the pipeline that runs on a data directory.
fn read_ready(data_dir: &Path) -> Result<Ready, Error> {
    Ready::of_running(data_dir).ok_or_else(|| {
        let shown = data_dir.display();
        Error::Configuration(format!(
            "no pipeline runs on {shown}: start it with `cargo local`, or name its --data-dir"
        ))
    })
}

async fn deployed(flags: &Where) -> Result<Place, Error> {
    let names = Names::find(flags).await?;
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let timeouts = aws_config::timeout::TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .timeout_config(timeouts)
        .retry_config(aws_config::retry::RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX));
    if let Some(profile) = &flags.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = &flags.region {
        loader = loader.region(Region::new(region.clone()));
    }
    let sdk = loader.load().await;
    if sdk.region().is_none() {
        let text = "no AWS region: give --region, AWS_REGION, or a --profile that has one; \
                    for the pipeline on this machine give --local";
        return Err(Error::Configuration(text.to_owned()));
    }
    let tables = names.tables.map(|(payments, refusals)| {
        PaymentsTable::new(aws_sdk_dynamodb::Client::new(&sdk), payments, refusals)
    });
    Ok(Place {
        sqs: aws_sdk_sqs::Client::new(&sdk),
        queue_url: names.queue_url,
        dead_letter_queue_url: names.dead_letter_queue_url,
        tables,
        audit_log: match &flags.audit_log {
            Some(path) => path.clone(),
            None => state_directory()?.join(AUDIT_FILE),
        },
        logs: Logs::CloudWatch,
        sdk,
    })
}

/// The names of what is deployed.
struct Names {
    queue_url: String,
    dead_letter_queue_url: String,
    tables: Option<(String, String)>,
}

impl Names {
    /// Takes the names from the flags, and those that they do not give from the Terraform outputs. If the
    /// flags give both queues, Terraform is not asked, and the tables may stay unknown.
    async fn find(flags: &Where) -> Result<Names, Error> {
        let outputs = match (&flags.queue_url, &flags.dead_letter_queue_url) {
            (Some(_), Some(_)) => Value::Null,
            (Some(_) | None, Some(_) | None) => terraform_outputs(&flags.infra).await?,
        };
        let name = |flag: &Option<String>, output: &str| {
            flag.clone().or_else(|| outputs[output]["value"].as_str().map(str::to_owned))
        };
        let required = |flag: &Option<String>, output: &str| {
            name(flag, output).ok_or_else(|| {
                let flag = output.replace('_', "-");
                let infra = flags.infra.display();
                Error::Configuration(format!(
                    "the Terraform outputs of {infra} have no {output}: is the stack applied and \
                     its state selected? Or give --{flag}"
                ))
            })
        };
        let payments = name(&flags.payments_table, "payments_table");
        let refusals = name(&flags.refusals_table, "refusals_table");
        Ok(Names {
            queue_url: required(&flags.queue_url, "queue_url")?,
            dead_letter_queue_url: required(&flags.dead_letter_queue_url, "dead_letter_queue_url")?,
            tables: payments.zip(refusals),
        })
    }
}

async fn terraform_outputs(infra: &Path) -> Result<Value, Error> {
    let refused = |why: &str| {
        Error::Configuration(format!(
            "the Terraform outputs of {} cannot be read ({why}): give --queue-url and \
             --dead-letter-queue-url, run `terraform init` there, or give --local for the pipeline \
             on this machine",
            infra.display()
        ))
    };
    let mut chdir = std::ffi::OsString::from("-chdir=");
    chdir.push(infra);
    let mut command = tokio::process::Command::new("terraform");
    let output = command.arg(chdir).args(["output", "-json", "-no-color"]).output().await;
    let output = output.map_err(|error| refused(&format!("terraform: {error}")))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        let line = error.lines().find(|line| line.contains("Error")).unwrap_or("terraform failed");
        return Err(refused(line.trim_matches(['│', ' '])));
    }
    serde_json::from_slice(&output.stdout).map_err(|_| refused("not JSON"))
}

/// Where a program keeps its state, according to the XDG Base Directory Specification.
fn state_directory() -> Result<PathBuf, Error> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let state = variable("XDG_STATE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(variable("HOME")?).join(".local/state"));
    let state = state.or_else(home).map(|state| state.join("remit"));
    state.ok_or_else(|| Error::Configuration("no HOME: give --audit-log".to_owned()))
}
