//! Where a command works, and the dead letters that it is about.

use std::time::Duration;

use crate::clock::now_ms;
use crate::dlq::filter::Filter;
use crate::dlq::hold::{HELD_MAX, Holder};
use crate::dlq::letter::Letter;
use crate::dlq::scan::{Enough, Scan, Wish, scan};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::place::Place;
use crate::terminal::{counting, note, span};

/// Where a command works, and how.
#[derive(Debug)]
pub struct Desk {
    /// The queues and the tables.
    pub place: Place,
    /// How long the queue hides a held message if this process is killed.
    pub hold: Duration,
    /// Set by Ctrl-C.
    pub interrupt: Interrupt,
}

/// The letters that a command is about, the oldest first. They are held; all others are released.
pub(crate) struct Selection {
    pub(crate) letters: Vec<Letter>,
    /// About how many letters the queue has besides these.
    pub(crate) others: usize,
    /// Whether every letter that the filter asks for is among these. It is not so when somebody else holds
    /// some, or when there are more than can be held at once.
    pub(crate) is_all: bool,
}

impl Desk {
    /// A holder of dead letters that holds nothing yet.
    pub(crate) fn holder(&self) -> Holder {
        let url = self.place.dead_letter_queue_url.clone();
        Holder::new(self.place.sqs.clone(), url, self.hold)
    }

    /// Reads all dead letters, or enough of them, and releases them. `None` after Ctrl-C.
    pub(crate) async fn look(&self, enough: Option<Enough<'_>>) -> Result<Option<Scan>, Error> {
        let holder = self.holder();
        let scan = self.scan(&holder, Wish { enough, patient: false }).await?;
        holder.release_all().await;
        Ok(Some(scan).filter(|_| !self.interrupt.is_set()))
    }

    /// Holds the letters that a command is about. If it is `patient`, it waits for letters that somebody
    /// else holds: after a run was killed, the next one thereby finishes its work.
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

    /// Scans, and says what was not to be seen.
    async fn scan(&self, holder: &Holder, wish: Wish<'_>) -> Result<Scan, Error> {
        let bar = counting("looking at dead letters:");
        let scan = scan(holder, wish, &self.interrupt, &bar).await;
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
            note(&format!("note: stopped at {HELD_MAX} messages; no more can be held at once"));
        }
        Ok(scan)
    }
}
