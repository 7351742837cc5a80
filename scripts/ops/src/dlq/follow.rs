//! What became of letters that were sent back.
//!
//! A letter is known by its request id, which the tables name and a message keeps through every re-drive.
//! What the tables say of a letter is its `standing`. A letter is **back** when the dead-letter queue has one
//! of the same request with a higher re-drive count. It is **open** as long as neither is known.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use futures::StreamExt;
use indicatif::ProgressBar;
use tables::{Failure, PaymentsTable};

use crate::dlq::desk::Desk;
use crate::dlq::letter::Letter;
use crate::dlq::scan::{Wish, scan};
use crate::dlq::standing::{Outcome, standing_of};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::queue::depth;
use crate::terminal::progress;

/// How long letters are followed. A payment that fails again for a passing reason may take longer to get an
/// outcome: its retries take up to half an hour.
pub const FOLLOW_MAX: Duration = Duration::from_secs(5 * 60);

/// The first pause between two rounds of looking. Each pause is twice as long as the one before, so that
/// following many letters does not use up what the tables can read.
const PAUSE_MIN: Duration = Duration::from_millis(200);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Letters that are looked up in the tables at once.
const LOOKS_MAX: usize = 16;

/// When following ends. Ctrl-C and [`FOLLOW_MAX`] end it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// When the outcome of every letter is known.
    All,
    /// When one letter is known to have an outcome other than being back.
    Alive,
}

/// What became of letters.
#[derive(Debug, Default)]
pub struct Followed {
    /// Stored by their own request.
    pub stored: usize,
    /// Stored by another request.
    pub duplicates: usize,
    /// Refused, by reason.
    pub refused: BTreeMap<String, usize>,
    /// Dead again: the message's new id, and the reason.
    pub back: Vec<(String, String)>,
    /// Letters whose outcome is not known yet.
    pub open: Vec<Letter>,
    /// Why a table did not answer in the last round, if one did not.
    pub failure: Option<Failure>,
}

impl Followed {
    /// Whether a letter has an outcome other than being back.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.stored + self.duplicates + self.refused.len() > 0
    }

    fn is_over(&self, until: Until) -> bool {
        self.open.is_empty() || (until == Until::Alive && self.is_alive())
    }
}

/// Follows the open letters, which were sent back, for [`FOLLOW_MAX`] at the most.
///
/// # Errors
/// A queue does not answer.
pub async fn follow(
    desk: &Desk,
    tables: &PaymentsTable,
    followed: &mut Followed,
    until: Until,
) -> Result<(), Error> {
    let bar = progress("following", u64::try_from(followed.open.len()).unwrap_or_default());
    let (started, mut pause) = (Instant::now(), PAUSE_MIN);
    while !followed.is_over(until) {
        let is_last = started.elapsed() > FOLLOW_MAX || desk.interrupt.is_set();
        // Asked before the tables: the function deletes a message only after its outcome is durable, so
        // the tables know all about a queue that was empty by then.
        let is_drained = depth(&desk.place.sqs, &desk.place.queue_url).await?.total() == 0;
        settle(tables, followed).await;
        // Reading the dead-letter queue takes long when it holds many letters. It is read when it matters:
        // at the end, and while the others wait for what becomes of the first ones.
        let looks_back = is_drained || is_last || until == Until::Alive;
        if !followed.is_over(until) && looks_back {
            find_back(desk, followed).await?;
        }
        let open = followed.open.len() as u64;
        bar.set_position(bar.length().unwrap_or_default().saturating_sub(open));
        if is_last {
            break;
        }
        if !followed.is_over(until) {
            desk.interrupt.pause(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Looks up each open letter in the tables.
async fn settle(tables: &PaymentsTable, followed: &mut Followed) {
    followed.failure = None;
    let looks = std::mem::take(&mut followed.open).into_iter().map(|letter| async move {
        let outcome = standing_of(tables, &letter).await;
        (letter, outcome)
    });
    let mut looks = futures::stream::iter(looks).buffer_unordered(LOOKS_MAX);
    while let Some((letter, standing)) = looks.next().await {
        match standing.map(|standing| standing.outcome) {
            Ok(Outcome::Stored) => followed.stored += 1,
            Ok(Outcome::Duplicate) => followed.duplicates += 1,
            Ok(Outcome::Refused(reason)) => *followed.refused.entry(reason).or_default() += 1,
            Ok(Outcome::Open) => followed.open.push(letter),
            Err(failure) => {
                followed.failure = Some(failure);
                followed.open.push(letter);
            }
        }
    }
}

/// Looks for the open letters in the dead-letter queue.
async fn find_back(desk: &Desk, followed: &mut Followed) -> Result<(), Error> {
    let holder = desk.holder();
    // After Ctrl-C there is one last look, which must not be cut short.
    let never = Interrupt::default();
    let scan = scan(&holder, Wish::default(), &never, &ProgressBar::hidden()).await;
    holder.release_all().await;
    let dead = scan?.letters;
    let mut by_request: HashMap<&str, &Letter> = HashMap::new();
    for letter in &dead {
        // Of several copies of a message, the one that was sent back most often counts.
        let known = by_request.entry(letter.request_id()).or_insert(letter);
        if letter.redrives() > known.redrives() {
            *known = letter;
        }
    }
    let is_back = |letter: &Letter| {
        let again = by_request.get(letter.request_id())?;
        (again.redrives() > letter.redrives()).then_some(*again)
    };
    for letter in std::mem::take(&mut followed.open) {
        match is_back(&letter) {
            Some(again) => {
                followed.back.push((again.message_id.clone(), again.reason().to_owned()));
            }
            None => followed.open.push(letter),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::letter::tests::letter;

    #[test]
    fn the_first_letters_are_followed_until_one_is_alive() {
        let back = vec![("m".to_owned(), "throttled".to_owned())];
        let refused = BTreeMap::from([("conflict".to_owned(), 1)]);
        let open = || vec![letter("m", "{}", &[], false)];
        for (followed, is_alive) in [
            (Followed { open: open(), ..Followed::default() }, false),
            (Followed { open: open(), back, ..Followed::default() }, false),
            (Followed { open: open(), stored: 1, ..Followed::default() }, true),
            (Followed { open: open(), duplicates: 1, ..Followed::default() }, true),
            (Followed { open: open(), refused, ..Followed::default() }, true),
        ] {
            assert_eq!(followed.is_over(Until::Alive), is_alive, "{followed:?}");
            assert!(!followed.is_over(Until::All));
        }
        assert!(Followed::default().is_over(Until::Alive));
    }
}
