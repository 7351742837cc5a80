//! The command line.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::function::{self, Comparison, instructions};
use crate::kills::{self, Kills};
use crate::load::Load;
use crate::pipeline::{Pipeline, ROLE, found};
use crate::{account, fair, measure, reads};

/// Submits payments to a local pipeline, measures, and accounts for every one.
///
/// Without --ready-file it starts a pipeline of its own, with the flags of `cargo local` that follow
/// `--`, and forgets it afterwards.
#[derive(Debug, Parser)]
#[command(name = "cargo load", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    measure: Measure,
}

#[derive(Debug, Args)]
struct Measure {
    /// Ready file of a running pipeline (`cargo local --ready-file`).
    #[arg(long, value_name = "PATH", conflicts_with = "flags")]
    ready_file: Option<PathBuf>,

    /// Submissions per second, whatever the answers take [default: a closed loop at full speed].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,

    /// Submissions at the most.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    count: usize,

    /// Seconds after which no more are sent.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,

    /// Connections of the closed loop.
    #[arg(long, value_name = "COUNT", default_value_t = 32)]
    connections: usize,

    /// Print JSON instead of the table.
    #[arg(long)]
    json: bool,

    /// Flags for a pipeline of its own.
    #[arg(last = true, value_name = "FLAGS OF CARGO LOCAL")]
    flags: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure the answers about payments of a user who has many.
    Reads {
        /// Payments that the user has.
        #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
        payments: usize,
        /// Questions of each kind.
        #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
        count: usize,
    },
    /// Flood the queue with one user's payments while another user submits now and then; fail if the
    /// other one waits for the flood.
    Fair {
        /// Payments of the flood.
        #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
        count: usize,
    },
    /// Measure the packaged function beside what a team would otherwise run: `scripts/compare`.
    Compare {
        #[command(flatten)]
        comparison: Comparison,
        /// Print JSON instead of the tables.
        #[arg(long)]
        json: bool,
    },
    /// Count the instructions that the packaged function takes for a record, and compare with the
    /// committed figure.
    Instructions {
        /// The function's program, out of its package.
        #[arg(long, value_name = "PATH")]
        function: PathBuf,
        /// File with the committed figure.
        #[arg(long, value_name = "PATH", default_value = "scripts/bench/instructions")]
        figure: PathBuf,
        /// Write the figure anew.
        #[arg(long)]
        refresh: bool,
    },
    /// Kill functions and the whole pipeline while payments come in; fail if one is lost.
    Kills {
        /// Payments to submit.
        #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
        count: usize,
        /// How often a process of the function is killed.
        #[arg(long, value_name = "COUNT", default_value_t = 10)]
        functions: usize,
        /// How often the whole pipeline is killed and started again.
        #[arg(long, value_name = "COUNT", default_value_t = 2)]
        pipelines: usize,
        /// Seed of the moments of the kills [default: a new one, which is printed].
        #[arg(long, value_name = "NUMBER")]
        seed: Option<u64>,
    },
}

/// Runs the program; also in the roles of the pipeline and its functions.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let role = arguments.get(1).and_then(|role| role.to_str());
    match role {
        Some(ROLE) => local::main(arguments[..1].iter().chain(&arguments[2..]).cloned()),
        Some("function") => local::main(arguments),
        _ => match run(Cli::parse_from(arguments)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        None => wait(measured(cli.measure)),
        Some(Command::Reads { payments, count }) => wait(async {
            let bar = bar();
            let lines = reads::run(payments, count, &bar).await?;
            bar.finish_and_clear();
            lines.iter().for_each(|line| println!("{line}"));
            Ok(())
        }),
        Some(Command::Fair { count }) => wait(async {
            let bar = bar();
            let lines = fair::run(count, &bar).await?;
            bar.finish_and_clear();
            lines.iter().for_each(|line| println!("{line}"));
            Ok(())
        }),
        Some(Command::Kills { count, functions, pipelines, seed }) => {
            let seed = seed.unwrap_or_else(|| fastrand::u64(..));
            wait(killed(Kills { count, functions, pipelines, seed }))
        }
        Some(Command::Compare { comparison, json }) => {
            let bar = bar();
            let report = function::compare(&comparison, &bar)?;
            bar.finish_and_clear();
            print(&report, json)
        }
        Some(Command::Instructions { function, figure, refresh }) => {
            let measured = instructions::per_record(&function)?;
            println!("{measured} instructions a record");
            match refresh {
                true => Ok(std::fs::write(figure, format!("{measured}\n"))?),
                false => instructions::check(&figure, measured),
            }
        }
    }
}

fn wait(run: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run)
}

fn print<R: Display + Serialize>(report: &R, json: bool) -> anyhow::Result<()> {
    match json {
        true => println!("{}", serde_json::to_string_pretty(report)?),
        false => println!("{report}"),
    }
    Ok(())
}

async fn killed(kills: Kills) -> anyhow::Result<()> {
    println!("cargo load kills --seed {}", kills.seed);
    let bar = bar();
    bar.set_length(u64::try_from(kills.count).unwrap_or(u64::MAX));
    let account = kills::run(kills, &bar).await?;
    bar.finish_and_clear();
    let account::Account { accepted, stored, duplicates, refused, dead, .. } = account;
    println!(
        "{} kills of functions, {} of the pipeline: accepted {accepted} = stored {stored} + \
         duplicates {duplicates} + refused {refused} + dead {dead}; nothing is lost",
        kills.functions, kills.pipelines
    );
    Ok(())
}

async fn measured(measure: Measure) -> anyhow::Result<()> {
    let (own, client) = match &measure.ready_file {
        Some(path) => (None, found(path)?),
        None => {
            let (pipeline, client) = Pipeline::start(&measure.flags).await?;
            (Some(pipeline), client)
        }
    };
    let load = Load {
        count: measure.count,
        time_max: Duration::from_secs(measure.seconds),
        rate: measure.rate,
        connections: measure.connections,
    };
    let bar = bar();
    let report = measure::run(&client, load, &bar).await?;
    bar.finish_and_clear();
    if let Some(pipeline) = own {
        for line in pipeline.printed().lines().filter(|line| line.contains("--seed")) {
            eprintln!("{line}");
        }
    }
    print(&report, measure.json)?;
    report.account.check()
}

/// On standard error, and only on a terminal.
fn bar() -> ProgressBar {
    let template = "{msg:20} {wide_bar} {pos}/{len} {per_sec} {elapsed}";
    let style = ProgressStyle::with_template(template).expect("the template is ours");
    ProgressBar::new(0).with_style(style)
}
