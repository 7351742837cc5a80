//! The dead-letter workbench, `cargo dlq`: what on-call opens when the alarm for dead letters goes off.
//!
//! - [`cli`]: commands, flags, exit codes.
//! - [`place`]: where the queues and tables are: on this machine, or in an AWS account.
//! - [`letter`], [`filter`]: a dead letter, read; which ones a command is about. Both pure.
//! - [`hold`]: looking without consuming.
//! - [`look`]: `summary`, `list`, `show`.
//! - [`redrive`], [`native`]: sending letters back; by the queue's own move task.
//! - [`send`]: into the main queue first, out of the dead-letter queue after.
//! - [`follow`]: what became of those that were sent back.
//! - `standing`: what the tables know of a submission, and what they are told of it.
//! - [`archive`]: letters in a file, byte for byte; `export`.
//! - [`discard`], [`restore`]: into such a file and away; back out of it.
//! - [`reconcile`]: what clients are told, beside what lies in the queue.
//! - [`audit`]: the record of what operators did.
//! - [`queue`]: calls of the queue and the errors that they end in.
//!
//! Nothing here edits a body, deletes a message that is not durable elsewhere first (in the main queue,
//! or in an archive), changes anything before it is on record, or prints what a payment says unless told
//! to reveal it.

pub mod archive;
pub mod audit;
pub mod cli;
pub mod discard;
pub mod filter;
pub mod follow;
pub mod hold;
pub mod letter;
pub mod look;
pub mod native;
pub mod place;
pub mod queue;
pub mod reconcile;
pub mod redrive;
pub mod restore;
pub mod send;
mod standing;
mod terminal;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use cli::main;

use crate::filter::Filter;
use crate::hold::{Enough, Holder, Interrupt, Scan, Wish};
use crate::letter::Letter;
use crate::place::Place;
use crate::queue::Error;
use crate::terminal::{counting, note, span};

/// How a command that could do its work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Everything is done.
    Done,
    /// Something is left to do; what, has been said.
    Unfinished,
}

impl Ending {
    /// How a command ends that had begun to change something when an error came.
    pub(crate) fn after_changes(result: Result<Ending, Error>) -> Ending {
        result.unwrap_or_else(|error| {
            note(&format!("error: {error}"));
            Ending::Unfinished
        })
    }
}

/// Where a command works, and how.
#[derive(Debug)]
pub struct Desk {
    /// The queues and the tables.
    pub place: Place,
    /// How long messages stay out of sight if this process is killed.
    pub hold: Duration,
    /// Set by Ctrl-C.
    pub interrupt: Interrupt,
}

/// The letters that a command is about, held, the oldest first. The others are released already.
pub(crate) struct Selection {
    pub(crate) letters: Vec<Letter>,
    pub(crate) others: usize,
    /// Whether nothing was out of sight or beyond what can be held at once.
    pub(crate) is_all: bool,
}

impl Desk {
    /// A holder of dead letters that holds nothing yet.
    pub(crate) fn holder(&self) -> Holder {
        let url = self.place.dead_letter_queue_url.clone();
        Holder::new(self.place.sqs.clone(), url, self.hold)
    }

    /// Looks at dead letters, at all of them or at enough, says what it did not see, and releases all.
    /// `None` after Ctrl-C.
    pub(crate) async fn look(&self, enough: Option<Enough<'_>>) -> Result<Option<Scan>, Error> {
        let holder = self.holder();
        let scan = self.scan(&holder, Wish { enough, patient: false }).await?;
        holder.release_all().await;
        Ok(Some(scan).filter(|_| !self.interrupt.is_set()))
    }

    /// Holds the letters that a command is about. A patient one waits for those that a killed run still
    /// holds, so that a second run finishes the job.
    pub(crate) async fn select(
        &self,
        holder: &Holder,
        filter: &Filter,
        patient: bool,
    ) -> Result<Selection, Error> {
        let now = now_ms();
        let of = |letter: &Letter| filter.selects(letter, now);
        let enough = filter.count_max().map(|count| Enough { count, of: &of });
        let scan = self.scan(holder, Wish { enough, patient }).await?;
        if let Err(error) = filter.check_reasons(&scan.letters) {
            holder.release_all().await;
            return Err(error);
        }
        let is_all = scan.has_enough || (scan.out_of_sight == 0 && !scan.is_full);
        let unread = scan.unread();
        let (letters, others) = filter.divide(scan.letters, now);
        holder.release(others.iter().map(|letter| letter.message_id.as_str())).await;
        Ok(Selection { letters, others: others.len() + unread, is_all })
    }

    async fn scan(&self, holder: &Holder, wish: Wish<'_>) -> Result<Scan, Error> {
        let bar = counting("looking at dead letters:");
        let scan = holder.scan(wish, &self.interrupt, &bar).await;
        bar.finish_and_clear();
        if scan.is_err() {
            holder.release_all().await;
        }
        let scan = scan?;
        if scan.out_of_sight > 0 && !scan.has_enough {
            note(&format!(
                "note: about {} more are out of sight: somebody looks at them, or was killed while \
                 doing so; they show again within {}",
                scan.out_of_sight,
                span(self.hold)
            ));
        }
        if scan.is_full {
            let held = hold::HELD_MAX;
            note(&format!("note: stopped at {held} messages; no more can be held at once"));
        }
        Ok(scan)
    }
}

/// Now, in milliseconds since 1970-01-01 UTC.
pub(crate) fn now_ms() -> i64 {
    ms_of(SystemTime::now())
}

/// A point in time in milliseconds since 1970-01-01 UTC.
pub(crate) fn ms_of(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
