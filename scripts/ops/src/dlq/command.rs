//! The commands of the dead-letter workbench.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use crate::dlq::desk::Desk;
use crate::dlq::discard::discard;
use crate::dlq::export::export;
use crate::dlq::filter::Filter;
use crate::dlq::list::list;
use crate::dlq::native::native;
use crate::dlq::reconcile::reconcile;
use crate::dlq::redrive::{How, redrive};
use crate::dlq::restore::restore;
use crate::dlq::show::show;
use crate::dlq::summary::summary;
use crate::error::{Ending, Error};
use crate::interrupt::Interrupt;
use crate::place::Place;

/// Dead letters: why payments died, and sending them back.
///
/// A payment that could not be processed waits in the dead-letter queue, where its message is called a dead
/// letter. Looking at letters consumes none: a letter is held, which hides it from others, and then released.
#[derive(Debug, Args)]
pub struct Dlq {
    #[command(subcommand)]
    command: Command,

    /// Seconds after which held letters show again if this program is killed.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, global = true,
          value_parser = clap::value_parser!(u32).range(2..=43_200))]
    hold: u32,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// How many died of what, since when, and how long the queue still keeps them.
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
        /// Show users in full. The audit log says so.
        #[arg(long)]
        reveal: bool,
    },
    /// Everything about one letter, and what the tables say of its payment now.
    Show {
        /// Its message id or its paymentId, or the beginning of one if no other id begins so.
        #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
        id: String,
        /// For programs: one JSON object.
        #[arg(long)]
        json: bool,
        /// Show body and user in full. The audit log says so.
        #[arg(long)]
        reveal: bool,
    },
    /// Write letters to a file, bodies byte for byte. Run again, it adds what is missing.
    Export {
        #[command(flatten)]
        filter: Filter,
        /// The archive: one JSON object a line.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Send letters back to the main queue. Without --yes, only say what would happen.
    Redrive {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        how: How,
        /// Let SQS's own move task do it, with all letters. It names none and follows none.
        #[arg(long, conflicts_with_all = ["reason", "payment", "user", "older_than", "newer_than",
                                          "version", "limit", "no_follow", "keep_going", "force"])]
        native: bool,
    },
    /// Send letters of an archive again. Without --yes, only say what would happen.
    Restore {
        #[command(flatten)]
        filter: Filter,
        /// The archive that `export` or `discard` wrote.
        #[arg(long, value_name = "FILE")]
        archive: PathBuf,
        #[command(flatten)]
        how: How,
    },
    /// Archive letters, tell their clients that they are discarded, and delete them. Without --yes, only
    /// say what would happen.
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
    /// Compare what clients are told with what is in the queue, and tell those whose letters have expired.
    /// Without --yes, only say what would happen.
    Reconcile {
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
}

/// Runs a command.
///
/// # Errors
/// The command could not do its work.
pub async fn run(dlq: Dlq, place: Place, interrupt: Interrupt) -> Result<Ending, Error> {
    let desk = Desk { place, hold: Duration::from_secs(dlq.hold.into()), interrupt };
    match dlq.command {
        Command::Summary { json } => summary(&desk, json).await,
        Command::List { filter, json, reveal } => list(&desk, &filter, json, reveal).await,
        Command::Show { id, json, reveal } => show(&desk, &id, json, reveal).await,
        Command::Export { filter, out } => export(&desk, &filter, &out).await,
        Command::Redrive { how, native: true, .. } => native(&desk, how.rate, how.yes).await,
        Command::Redrive { filter, how, native: false } => redrive(&desk, filter, how).await,
        Command::Restore { filter, archive, how } => restore(&desk, filter, &archive, how).await,
        Command::Discard { filter, archive, why, yes } => {
            discard(&desk, &filter, &archive, &why, yes).await
        }
        Command::Reconcile { yes } => reconcile(&desk, yes).await,
    }
}
