//! The command line: flags, what is printed, and when to stop.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, Parser, Subcommand};
use function::environment::Process;
use tokio::signal::unix::{SignalKind, signal};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;
use uuid::Uuid;

use crate::faults::Rates;
use crate::functions::exit_when_parent_is_gone;
use crate::live::{Above, Live};
use crate::pipeline::{Pipeline, QUERY, Ready, SUBMIT, remove_ready_file, write_ready_file};
use crate::tokens::{EXPIRES_IN, Issuer, KEY_FILE, SCOPES};

/// Runs the whole Remit pipeline on this machine: API, queue, functions, tables.
#[derive(Debug, Parser)]
#[command(
    name = "cargo local",
    bin_name = "cargo local",
    version,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    settings: Settings,

    /// Where everything is kept.
    #[arg(long, value_name = "PATH", default_value = "target/local", global = true)]
    data_dir: PathBuf,

    /// Start empty: forget all payments, messages and tokens of the data directory.
    #[arg(long)]
    fresh: bool,

    /// Write the addresses, names and a token as JSON to this file once everything answers. It goes
    /// when the pipeline stops.
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
}

/// What a pipeline can be told.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Port of the API (0: any free one).
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub api_port: u16,

    /// Port of the queue, for SQS clients (0: any free one).
    #[arg(long, value_name = "PORT", default_value_t = 9324)]
    pub queue_port: u16,

    /// Port of the tables, for DynamoDB clients (0: any free one).
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub table_port: u16,

    /// Messages of a batch at the most; over 10 needs a batching window.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub batch_size: usize,

    /// Seconds to gather a batch (0: take what is there).
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub batching_window: u64,

    /// Seconds until a message that nobody acknowledged is delivered again.
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..=43_200))]
    pub visibility_timeout: u32,

    /// Seconds before the first retry of a payment that failed for a passing reason.
    #[arg(long, value_name = "SECONDS", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(0..=900))]
    pub retry_delay: u32,

    /// Deliveries after which a message goes to the dead-letter queue.
    #[arg(long, value_name = "COUNT", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_receive_count: u32,

    /// Function processes, each with one batch at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(1..=100))]
    pub max_concurrency: u16,

    /// Requests per second that the API lets through; the others are answered 429 [default: all].
    #[arg(long, value_name = "COUNT")]
    pub rate_limit: Option<NonZeroU32>,

    /// Faults to inject and how often, from 0 to 1: any of duplicate, delay, throttle, lost-reply,
    /// crash, dlq and old-handle, as in duplicate=0.1,crash=0.01.
    #[arg(long, value_name = "NAME=RATE,…")]
    pub faults: Option<Rates>,

    /// Where the functions find the tables, in place of the tables themselves: a proxy.
    #[arg(long, value_name = "URL", hide = true)]
    pub functions_table_url: Option<String>,

    /// Where the functions find the queues, in place of the queues themselves: a proxy.
    #[arg(long, value_name = "URL", hide = true)]
    pub functions_queue_url: Option<String>,

    /// Seed of the faults [default: a new one, which is printed].
    #[arg(long, value_name = "NUMBER", requires = "faults")]
    pub seed: Option<u64>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print an access token and nothing else.
    Token {
        /// The user: the token's subject.
        #[arg(long, value_name = "UUID")]
        user: Uuid,
        /// The scopes, separated by blanks.
        #[arg(long, default_value = SCOPES)]
        scope: String,
        /// Seconds until the token expires.
        #[arg(long, value_name = "SECONDS", default_value_t = EXPIRES_IN.as_secs())]
        expires_in: u64,
    },
    /// Run as a function; only the pipeline itself does this.
    #[command(hide = true)]
    Function {
        /// Name of the function.
        name: String,
    },
}

/// Runs the program with these arguments, the first of which is its name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = Cli::parse_from(arguments);
    let done = match &cli.command {
        None => run(&cli),
        Some(Command::Token { user, scope, expires_in }) => {
            token(&cli.data_dir, &user.to_string(), scope, *expires_in)
        }
        Some(Command::Function { name }) => function(name),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let live = Live::on_terminal();
    let above = live.clone();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || Above(above.clone()))
        .with_target(false);
    // The tables warn of every put that finds its payment stored: that is no fault but the point.
    let filter = Targets::new().with_default(Level::WARN).with_target("dynoxide", Level::ERROR);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        // Listening before anything is started: no signal goes amiss.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // Whoever waits for the file must not find that of a pipeline that was killed.
        cli.ready_file.as_deref().map_or(Ok(()), remove_ready_file)?;
        let pipeline = tokio::select! {
            started = Pipeline::start(&cli.data_dir, cli.fresh, &cli.settings, &live) => started?,
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        };
        if let Some(path) = &cli.ready_file {
            write_ready_file(path, pipeline.ready())?;
        }
        live.print(&banner(&pipeline, &cli.data_dir), std::io::stdout());
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        live.print("Stopping …\n", std::io::stdout());
        let removed = cli.ready_file.as_deref().map_or(Ok(()), remove_ready_file);
        pipeline.stop().await;
        live.finish();
        println!("Stopped. Everything is kept in {}.", cli.data_dir.display());
        removed
    })
}

fn token(data_dir: &Path, user: &str, scope: &str, expires_in: u64) -> anyhow::Result<()> {
    // A key made here would sign tokens that no pipeline takes.
    ensure!(
        data_dir.join(KEY_FILE).exists(),
        "--data-dir {} holds no pipeline: start one there first, or name its directory",
        data_dir.display()
    );
    let issuer = Issuer::open(data_dir)?;
    println!("{}", issuer.issue(user, scope, Duration::from_secs(expires_in))?);
    Ok(())
}

fn function(name: &str) -> anyhow::Result<()> {
    exit_when_parent_is_gone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match name {
        SUBMIT => runtime.block_on(submit_payments::run(&Process)),
        QUERY => runtime.block_on(query_payments::run(&Process)),
        _ => anyhow::bail!("there is no function {name}"),
    }
}

/// A payment that the demo user may submit, new each time.
fn example(ready: &Ready) -> String {
    let (payment, user) = (Uuid::new_v4(), &ready.user_id);
    format!(
        r#"{{"paymentId":"{payment}","userId":"{user}","amount":"10.50","currency":"GBP","description":"Invoice 4711"}}"#
    )
}

fn banner(pipeline: &Pipeline, data_dir: &Path) -> String {
    let ready = pipeline.ready();
    let Ready { api, queue, table, payments_table, token, .. } = ready;
    let example = example(ready);
    let faults = match pipeline.seed() {
        None => String::new(),
        Some(seed) => format!("\nFaults are injected; --seed {seed} makes the same choices.\n"),
    };
    let dead_letter_queue = &ready.dead_letter_queue_url;
    format!(
        "\
Remit is running. Ctrl-C stops it; everything is kept in {data_dir}.

  API     {api}
  Try it  {api}/docs
  Queue   {queue}
  Tables  {table}
  Log     {log}
{faults}
Submit a payment as the demo user:

curl -i -X PUT {api}/submit -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' -d '{example}'

What became of it (fill in its paymentId), and what there is:

curl -i '{api}/payments/PAYMENT_ID?wait=25' -H 'Authorization: Bearer {token}'
curl -i '{api}/payments' -H 'Authorization: Bearer {token}'

Look at it with the aws CLI:

export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local AWS_DEFAULT_REGION=us-east-1
aws dynamodb scan --table-name {payments_table} --endpoint-url {table}
aws sqs receive-message --message-attribute-names All --queue-url {dead_letter_queue} --endpoint-url {queue}

",
        data_dir = data_dir.display(),
        log = data_dir.join(crate::pipeline::LOG_FILE).display(),
    )
}
