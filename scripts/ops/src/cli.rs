//! The command line of the whole tool, and its exit codes.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::dlq::command::{Dlq, run as run_dlq};
use crate::error::{Ending, Error};
use crate::interrupt::Interrupt;
use crate::place::{Place, Where};
use crate::terminal::{note, print};

/// The operator's tool: finds out why payments died, and sends them back once the cause is mended.
///
/// No queue and no table is changed without --yes, and every change is written into the audit log first.
#[derive(Debug, Parser)]
#[command(name = "ops", bin_name = "cargo ops", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    place: Where,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 some messages failed, which are named, or are left; \
    2 wrong usage or configuration, nothing was changed.";

#[derive(Debug, Subcommand)]
enum Command {
    Dlq(Box<Dlq>),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual pages.
    Man,
}

/// Runs the program with these arguments, the first of which is its name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        // clap's own exit code for wrong usage is 2, too.
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
        Command::Dlq(dlq) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Error::Configuration(error.to_string()))?;
            runtime.block_on(async {
                let interrupt = Interrupt::by_signals()?;
                let place = Place::find(&cli.place).await?;
                run_dlq(*dlq, place, interrupt).await
            })
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ops", &mut text);
            print(&String::from_utf8_lossy(&text));
            Ok(Ending::Done)
        }
        Command::Man => {
            let mut command = Cli::command();
            command.build();
            let mut pages = Vec::new();
            write_pages(&command, &mut pages)
                .map_err(|error| Error::Configuration(error.to_string()))?;
            print(&String::from_utf8_lossy(&pages));
            Ok(Ending::Done)
        }
    }
}

/// The manual page of a command, followed by those of its commands.
fn write_pages(command: &clap::Command, pages: &mut Vec<u8>) -> std::io::Result<()> {
    clap_mangen::Man::new(command.clone()).render(pages)?;
    let commands = command.get_subcommands().filter(|command| command.get_name() != "help");
    for command in commands {
        write_pages(command, pages)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &str) -> Result<Cli, clap::Error> {
        let arguments = format!("ops {arguments}");
        Cli::try_parse_from(arguments.split(' ').filter(|word| !word.is_empty()))
    }

    #[test]
    fn the_command_line_is_whole() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_usage_is_refused() {
        for arguments in [
            "",
            "summary",
            "dlq",
            "dlq redrive --native --reason throttled",
            "dlq redrive --rate 0",
            "dlq redrive --native --keep-going",
            "dlq redrive --native --force",
            "dlq restore",
            "dlq show",
            "dlq discard --archive a",
            "dlq discard --why b",
            "dlq discard --archive a --why=",
            "dlq list --older-than yesterday",
            "dlq list --limit 0",
            "dlq export",
            "dlq summary --hold 1",
        ] {
            assert_eq!(parsed(arguments).unwrap_err().exit_code(), 2, "{arguments}");
        }
    }

    #[test]
    fn where_to_work_may_be_said_before_or_after_a_command() {
        for arguments in [
            "--local dlq --hold 5 summary",
            "dlq --local --hold 5 summary",
            "dlq summary --local --hold 5",
        ] {
            assert!(parsed(arguments).is_ok(), "{arguments}");
        }
    }

    #[test]
    fn the_manual_has_a_page_for_every_command() {
        let mut command = Cli::command();
        command.build();
        let mut pages = Vec::new();
        write_pages(&command, &mut pages).unwrap();
        let pages = String::from_utf8(pages).unwrap();
        for page in [".TH ops 1", ".TH ops-dlq 1", ".TH ops-dlq-redrive 1", ".TH ops-man 1"] {
            assert_eq!(pages.matches(&format!("{page} ")).count(), 1, "{page}");
        }
        assert!(!pages.contains("-help-help"));
    }
}
