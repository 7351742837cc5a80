//! Reading the dead-letter queue: receiving and holding every message that it shows, or enough of them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use crate::dlq::hold::{HELD_MAX, Holder};
use crate::dlq::letter::Letter;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::queue::{BATCH_MAX, Depth, LANES};

/// Receives without a new message after which a lane stops. A message comes again when its hold has ended.
const STALE_MAX: u32 = 3;

/// Passes over the queue. A queue that still shows messages after a pass gets another one.
const PASSES_MAX: u32 = 3;

/// How much longer than a hold a patient scan waits for messages that others hold.
const GRACE: Duration = Duration::from_secs(5);

/// What a scan is to do.
#[derive(Clone, Copy, Default)]
pub struct Wish<'a> {
    /// When it need not read on.
    pub enough: Option<Enough<'a>>,
    /// Whether to wait, as long as a hold lasts, for messages that somebody else holds. A run that was
    /// killed still holds some.
    pub patient: bool,
}

/// So many letters of a kind are enough. Whoever needs few letters of a long queue need not read it all.
#[derive(Clone, Copy)]
pub struct Enough<'a> {
    /// How many letters.
    pub count: usize,
    /// Whether a letter counts.
    pub of: &'a (dyn Fn(&Letter) -> bool + Sync),
}

/// What a scan has found.
#[derive(Debug)]
pub struct Scan {
    /// The letters. The holder holds them.
    pub letters: Vec<Letter>,
    /// The queue's counts at the end.
    pub depth: Depth,
    /// About how many messages the queue did not show, because somebody else holds them.
    pub out_of_sight: u64,
    /// Whether it stopped because it held as many as it may.
    pub is_full: bool,
    /// Whether it stopped because it had found enough.
    pub has_enough: bool,
}

impl Scan {
    /// About how many messages it left unread because it had enough.
    #[must_use]
    pub fn unread(&self) -> usize {
        let total = usize::try_from(self.depth.total()).unwrap_or(usize::MAX);
        if self.has_enough { total.saturating_sub(self.letters.len()) } else { 0 }
    }
}

/// Receives and holds every message that the queue shows. `bar` shows how many there are so far.
///
/// # Errors
/// The queue does not answer.
pub async fn scan(
    holder: &Holder,
    wish: Wish<'_>,
    interrupt: &Interrupt,
    bar: &ProgressBar,
) -> Result<Scan, Error> {
    let reading = Reading { holder, wish, interrupt, bar, found: Mutex::default() };
    let depth = reading.all().await?;
    let found = reading.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Scan {
        has_enough: found.has_enough(wish),
        out_of_sight: depth.in_flight.saturating_sub(holder.held() as u64),
        is_full: holder.held() >= HELD_MAX,
        depth,
        letters: found.letters.into_values().collect(),
    })
}

/// A scan under way: several lanes receive at once and put together what they find.
struct Reading<'a> {
    holder: &'a Holder,
    wish: Wish<'a>,
    interrupt: &'a Interrupt,
    bar: &'a ProgressBar,
    found: Mutex<Found>,
}

/// What the lanes have found so far.
#[derive(Default)]
struct Found {
    letters: HashMap<String, Letter>,
    /// How many of them the scan wants enough of.
    wanted: usize,
}

impl Reading<'_> {
    /// Passes over the queue until it shows nothing more; returns the queue's counts after that.
    async fn all(&self) -> Result<Depth, Error> {
        let patience =
            if self.wish.patient { self.holder.duration() + GRACE } else { Duration::ZERO };
        // One receive brings up to ten messages.
        let lanes_max = self.wish.enough.map_or(LANES, |enough| enough.count.div_ceil(BATCH_MAX));
        let started = Instant::now();
        let mut passes = 0;
        loop {
            let before = self.holder.held();
            let lanes = (0..lanes_max.clamp(1, LANES)).map(|_| self.lane());
            futures::future::try_join_all(lanes).await?;
            let depth = self.holder.depth().await?;
            if self.interrupt.is_set() || self.is_done() {
                return Ok(depth);
            }
            let others = depth.in_flight.saturating_sub(self.holder.held() as u64);
            let waits = others > 0 && started.elapsed() < patience;
            if waits {
                let text = format!("· waiting for about {others} that somebody else holds");
                self.bar.set_message(text);
            }
            passes += u32::from(!waits);
            let brought = self.holder.held() > before;
            if !waits && (depth.visible == 0 || passes >= PASSES_MAX || !brought) {
                return Ok(depth);
            }
        }
    }

    /// Receives until nothing new comes.
    async fn lane(&self) -> Result<(), Error> {
        let mut stale = 0;
        while stale < STALE_MAX && !self.interrupt.is_set() && !self.is_done() {
            let letters = self.holder.receive().await?;
            if letters.is_empty() {
                return Ok(());
            }
            let mut found = self.found();
            let before = found.letters.len();
            for letter in letters {
                found.add(letter, self.wish);
            }
            stale = if found.letters.len() > before { 0 } else { stale + 1 };
            self.bar.set_position(found.letters.len() as u64);
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.found().has_enough(self.wish) || self.holder.held() >= HELD_MAX
    }

    /// What is found so far. It is whole between any two statements, so a panic of another lane cannot have
    /// broken it.
    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    fn add(&mut self, letter: Letter, wish: Wish<'_>) {
        let is_wanted = wish.enough.is_some_and(|enough| (enough.of)(&letter));
        let known = self.letters.insert(letter.message_id.clone(), letter);
        self.wanted += usize::from(is_wanted && known.is_none());
    }

    fn has_enough(&self, wish: Wish<'_>) -> bool {
        wish.enough.is_some_and(|enough| self.wanted >= enough.count)
    }
}
