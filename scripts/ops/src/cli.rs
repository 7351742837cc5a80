//! The command line: commands, flags, exit codes.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use tokio::signal::unix::{SignalKind, signal};

use crate::filter::Filter;
use crate::hold::Interrupt;
use crate::place::{Place, Where};
use crate::queue::Error;
use crate::redrive::How;
use crate::terminal::{note, print};
use crate::{Desk, Ending, archive, discard, look, native, reconcile, redrive, restore};

/// Says why payments are in the dead-letter queue, and sends back what is mended.
///
/// Looking consumes nothing: messages are held out of sight while they are looked at, and released.
/// Nothing is changed without --yes, and every change is recorded in the audit log first.
#[derive(Debug, Parser)]
#[command(name = "dlq", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    place: Where,

    /// Seconds after which held messages show again if this program is killed.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, global = true,
          value_parser = clap::value_parser!(u32).range(2..=43_200))]
    hold: u32,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 some messages failed, which are named, or are left; \
    2 usage or configuration, nothing was changed.";

#[derive(Debug, Subcommand)]
enum Command {
    /// How many died of what, since when, and how long they keep.
    Summary {
        /// For programs: one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// The letters, the oldest first.
    List {
        #[command(flatten)]
        filter: Filter,
        /// For programs: one JSON object a line.
        #[arg(long)]
        json: bool,
        /// Show users in full; recorded in the audit log.
        #[arg(long)]
        reveal: bool,
    },
    /// Everything about one letter, and what the tables say of its payment now.
    Show {
        /// Its message id, or its paymentId, or what one of them begins with, if no other one does.
        #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
        id: String,
        /// For programs: one JSON object.
        #[arg(long)]
        json: bool,
        /// Show body and user in full; recorded in the audit log.
        #[arg(long)]
        reveal: bool,
    },
    /// Write letters to a file, bodies byte for byte; run again, it adds what is missing.
    Export {
        #[command(flatten)]
        filter: Filter,
        /// The archive: one JSON object a line.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Send letters back to the main queue; without --yes only say what would happen.
    Redrive {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        how: How,
        /// Let the queue's own move task do it: everything, unfiltered, unnamed, not followed.
        #[arg(long, conflicts_with_all = ["reason", "payment", "user", "older_than", "newer_than",
                                          "version", "limit", "no_follow", "keep_going", "force"])]
        native: bool,
    },
    /// Send letters of an archive again; without --yes only say what would happen.
    Restore {
        #[command(flatten)]
        filter: Filter,
        /// The archive that `export` or `discard` wrote.
        #[arg(long, value_name = "FILE")]
        archive: PathBuf,
        #[command(flatten)]
        how: How,
    },
    /// Delete letters, each durably in an archive first, and tell their clients; without --yes only say
    /// what would happen.
    Discard {
        #[command(flatten)]
        filter: Filter,
        /// The archive: one JSON object a line.
        #[arg(long, value_name = "FILE")]
        archive: PathBuf,
        /// Why, for the audit log.
        #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
        why: String,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
    /// Compare what clients are told with what lies in the queue, and tell those whose letters have
    /// expired; without --yes only say what would happen.
    Reconcile {
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page.
    Man,
}

/// Runs the program with these arguments, the first of which is its name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        // clap's own code for wrong usage is 2, too.
        Err(error) => error.exit(),
    };
    match run(cli) {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::Unfinished) => ExitCode::from(1),
        Err(error) => {
            note(&format!("error: {error}"));
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli) -> Result<Ending, Error> {
    match cli.command {
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "dlq", &mut text);
            print(&String::from_utf8_lossy(&text));
            return Ok(Ending::Done);
        }
        Command::Man => {
            let mut text = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut text);
            rendered.map_err(|error| Error::Configuration(error.to_string()))?;
            print(&String::from_utf8_lossy(&text));
            return Ok(Ending::Done);
        }
        Command::Summary { .. }
        | Command::List { .. }
        | Command::Show { .. }
        | Command::Export { .. }
        | Command::Redrive { .. }
        | Command::Restore { .. }
        | Command::Discard { .. }
        | Command::Reconcile { .. } => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::Configuration(error.to_string()))?;
    runtime.block_on(work(cli))
}

async fn work(cli: Cli) -> Result<Ending, Error> {
    let interrupt = Interrupt::default();
    listen(&interrupt)?;
    let place = Place::find(&cli.place).await?;
    let desk = Desk { place, hold: Duration::from_secs(cli.hold.into()), interrupt };
    match cli.command {
        Command::Summary { json } => look::summary(&desk, json).await,
        Command::List { filter, json, reveal } => look::list(&desk, &filter, json, reveal).await,
        Command::Show { id, json, reveal } => look::show(&desk, &id, json, reveal).await,
        Command::Export { filter, out } => archive::export(&desk, &filter, &out).await,
        Command::Redrive { how, native: true, .. } => {
            native::native(&desk, how.rate, how.yes).await
        }
        Command::Redrive { filter, how, native: false } => {
            redrive::redrive(&desk, filter, how).await
        }
        Command::Restore { filter, archive, how } => {
            restore::restore(&desk, filter, &archive, how).await
        }
        Command::Discard { filter, archive, why, yes } => {
            discard::discard(&desk, &filter, &archive, &why, yes).await
        }
        Command::Reconcile { yes } => reconcile::reconcile(&desk, yes).await,
        Command::Completions { .. } | Command::Man => Ok(Ending::Done),
    }
}

/// The first Ctrl-C asks to stop between two steps; the second one stops at once, which loses nothing
/// either.
fn listen(interrupt: &Interrupt) -> Result<(), Error> {
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signals = signal(kind).map_err(|error| Error::Configuration(error.to_string()))?;
        let interrupt = interrupt.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if interrupt.is_set() {
                    std::process::exit(1);
                }
                interrupt.set();
                note("stopping: finishing what is under way, releasing the rest …");
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_whole() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_usage_is_refused() {
        for arguments in [
            "",
            "redrive --native --reason throttled",
            "redrive --rate 0",
            "redrive --native --keep-going",
            "redrive --native --force",
            "restore",
            "show",
            "discard --archive a",
            "discard --why b",
            "discard --archive a --why=",
            "list --older-than yesterday",
            "list --limit 0",
            "export",
            "summary --hold 1",
        ] {
            let arguments = format!("dlq {arguments}");
            let words = arguments.split(' ').filter(|word| !word.is_empty());
            assert_eq!(Cli::try_parse_from(words).unwrap_err().exit_code(), 2, "{arguments}");
        }
    }
}
