//! The command line: flags, what is printed, and when to stop.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use gateway::tokens::{EXPIRES_IN, Issuer, KEY_FILE, SCOPES};
use ready::{LOG_FILE, Ready};
use runtime::exit_when_parent_is_gone;
use tokio::signal::unix::{SignalKind, signal};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;
use uuid::Uuid;

use crate::functions::FUNCTIONS;
use crate::live::{Above, Live};
use crate::pipeline::Pipeline;
use crate::settings::Settings;

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
    // The tables warn of every put whose condition does not hold, which is how duplicates are found.
    let filter = Targets::new().with_default(Level::WARN).with_target("dynoxide", Level::ERROR);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before anything is started, so that no signal is missed.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // Whoever waits for the file must not find that of a pipeline that was killed.
        cli.ready_file.as_deref().map_or(Ok(()), ready::remove)?;
        let pipeline = tokio::select! {
            started = Pipeline::start(&cli.data_dir, cli.fresh, &cli.settings, &live) => started?,
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        };
        if let Some(path) = &cli.ready_file {
            pipeline.ready().write(path)?;
        }
        live.print(&banner(&pipeline, &cli.data_dir), std::io::stdout());
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        live.print("Stopping …\n", std::io::stdout());
        let removed = cli.ready_file.as_deref().map_or(Ok(()), ready::remove);
        pipeline.stop().await;
        live.finish();
        println!("Stopped. Everything is kept in {}.", cli.data_dir.display());
        Ok(removed?)
    })
}

fn token(data_dir: &Path, user: &str, scope: &str, expires_in: u64) -> anyhow::Result<()> {
    // Otherwise a new key would be made here, and no pipeline would accept its tokens.
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
    let known = FUNCTIONS.iter().find(|function| function.name == name);
    let function = known.with_context(|| format!("there is no function {name}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on((function.run)())
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
        log = data_dir.join(LOG_FILE).display(),
    )
}
