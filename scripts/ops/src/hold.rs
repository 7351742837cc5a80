//! Looking without consuming: messages are received, held out of everybody's sight while they are
//! looked at or worked on, and released. Whoever is killed meanwhile releases them by silence: the
//! queue shows them again when the hold is over.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry as Change, DeleteMessageBatchRequestEntry as Delete,
    MessageSystemAttributeName,
};
use futures::StreamExt;
use indicatif::ProgressBar;
use tokio::task::AbortHandle;

use crate::letter::Letter;
use crate::queue::{BATCH_MAX, Depth, Error, LANES, code_of, depth};

/// Messages held at once. SQS refuses more than 120,000 in flight.
pub const HELD_MAX: usize = 100_000;

/// How long a receive waits for messages: such a receive asks all of SQS's servers, a shorter one some.
const WAIT_SECONDS: i32 = 1;

/// Receives without anything new after which a lane stops: the hold of some has run out meanwhile.
const STALE_MAX: u32 = 3;

/// Passes over the queue: a queue that still shows messages after a pass gets another one.
const PASSES_MAX: u32 = 3;

/// How much longer than a hold an interrupted holder is waited for.
const GRACE: Duration = Duration::from_secs(5);

/// Why nothing can be done with a message that somebody else may have by now.
pub(crate) const LOST: &str = "the hold was lost; run again";

/// Set once, by Ctrl-C; everything that takes long looks at it between two steps.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks to stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether to stop.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The right to a received message, for as long as the hold lasts.
#[derive(Debug, Clone)]
struct Grip {
    handle: String,
    until: Instant,
}

/// The messages of one queue that this process holds. Renews each hold until it is released.
#[derive(Debug)]
pub struct Holder {
    client: Client,
    queue_url: String,
    hold: Duration,
    grips: Arc<Mutex<HashMap<String, Grip>>>,
    renewing: AbortHandle,
}

/// What a scan is to do.
#[derive(Clone, Copy, Default)]
pub struct Wish<'a> {
    /// When it need not read on.
    pub enough: Option<Enough<'a>>,
    /// Wait for messages that somebody else holds, as an interrupted run does, for as long as a hold.
    pub patient: bool,
}

/// So many letters of these are enough: whoever needs few of a long queue need not read it all.
#[derive(Clone, Copy)]
pub struct Enough<'a> {
    /// How many.
    pub count: usize,
    /// Of which.
    pub of: &'a (dyn Fn(&Letter) -> bool + Sync),
}

/// What the lanes of a scan have found so far.
#[derive(Default)]
struct Found {
    letters: HashMap<String, Letter>,
    /// Those that the scan wants enough of.
    wanted: usize,
}

/// What a scan has found.
#[derive(Debug)]
pub struct Scan {
    /// The messages, held.
    pub letters: Vec<Letter>,
    /// The queue's counts at the end.
    pub depth: Depth,
    /// Messages that were not to be seen, held by somebody else; approximate.
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

impl Holder {
    /// A holder of nothing yet, each of whose holds lasts so long.
    #[must_use]
    pub fn new(client: Client, queue_url: String, hold: Duration) -> Holder {
        let grips = Arc::new(Mutex::new(HashMap::new()));
        let renewing =
            tokio::spawn(renew(client.clone(), queue_url.clone(), hold, Arc::clone(&grips)));
        Holder { client, queue_url, hold, grips, renewing: renewing.abort_handle() }
    }

    /// Receives every message that is to be seen and holds it. `bar` shows how many there are so far.
    ///
    /// # Errors
    /// The queue gives no answer.
    pub async fn scan(
        &self,
        wish: Wish<'_>,
        interrupt: &Interrupt,
        bar: &ProgressBar,
    ) -> Result<Scan, Error> {
        let patience = if wish.patient { self.hold + GRACE } else { Duration::ZERO };
        let found = Mutex::new(Found::default());
        // A receive brings up to ten.
        let lanes_max = wish.enough.map_or(LANES, |enough| enough.count.div_ceil(BATCH_MAX));
        let started = Instant::now();
        let mut passes = 0;
        let depth = loop {
            let before = self.held();
            let lanes =
                (0..lanes_max.clamp(1, LANES)).map(|_| self.lane(wish, interrupt, &found, bar));
            futures::future::try_join_all(lanes).await?;
            let depth = depth(&self.client, &self.queue_url).await?;
            if interrupt.is_set() || self.is_done(wish, &found) {
                break depth;
            }
            let others = depth.in_flight.saturating_sub(self.held() as u64);
            let waits = others > 0 && started.elapsed() < patience;
            if waits {
                bar.set_message(format!("· waiting for about {others} that somebody else holds"));
            }
            passes += u32::from(!waits);
            let brought = self.held() > before;
            if !waits && (depth.visible == 0 || passes >= PASSES_MAX || !brought) {
                break depth;
            }
        };
        let mut found = unpoisoned(&found);
        let letters: Vec<Letter> = found.letters.drain().map(|(_, letter)| letter).collect();
        Ok(Scan {
            has_enough: found.has_enough(wish),
            out_of_sight: depth.in_flight.saturating_sub(self.held() as u64),
            is_full: self.held() >= HELD_MAX,
            depth,
            letters,
        })
    }

    /// Receives until nothing new comes.
    async fn lane(
        &self,
        wish: Wish<'_>,
        interrupt: &Interrupt,
        found: &Mutex<Found>,
        bar: &ProgressBar,
    ) -> Result<(), Error> {
        let mut stale = 0;
        while stale < STALE_MAX && !interrupt.is_set() && !self.is_done(wish, found) {
            let letters = self.receive().await?;
            if letters.is_empty() {
                return Ok(());
            }
            let mut found = unpoisoned(found);
            let before = found.letters.len();
            for letter in letters {
                found.add(letter, wish);
            }
            stale = if found.letters.len() > before { 0 } else { stale + 1 };
            bar.set_position(found.letters.len() as u64);
        }
        Ok(())
    }

    fn is_done(&self, wish: Wish<'_>, found: &Mutex<Found>) -> bool {
        unpoisoned(found).has_enough(wish) || self.held() >= HELD_MAX
    }

    async fn receive(&self) -> Result<Vec<Letter>, Error> {
        // Counted from before the request: the queue cannot have started later.
        let until = Instant::now() + self.hold;
        let received = self
            .client
            .receive_message()
            .queue_url(&self.queue_url)
            .max_number_of_messages(10)
            .wait_time_seconds(WAIT_SECONDS)
            .visibility_timeout(seconds(self.hold))
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send()
            .await
            .map_err(|error| Error::call("receive from the dead-letter queue", &error))?;
        let mut grips = self.grips();
        let mut letters = Vec::new();
        for mut message in received.messages.unwrap_or_default() {
            let handle = message.receipt_handle.take();
            if let (Some(handle), Some(letter)) = (handle, Letter::read(message)) {
                grips.insert(letter.message_id.clone(), Grip { handle, until });
                letters.push(letter);
            }
        }
        Ok(letters)
    }

    /// Whether it still holds a message. A hold is lost when this process was stopped for too long.
    #[must_use]
    pub fn holds(&self, message_id: &str) -> bool {
        self.grips().get(message_id).is_some_and(|grip| grip.until > Instant::now())
    }

    /// Deletes up to ten held messages; returns, in their order, why one could not be deleted. That one
    /// shows again when its hold is over.
    pub async fn delete(&self, message_ids: &[&str]) -> Vec<Result<(), String>> {
        let entries: Vec<Delete> = {
            let grips = self.grips();
            let entry = |(index, id): (usize, &&str)| {
                let handle = &grips.get(*id)?.handle;
                Delete::builder().id(index.to_string()).receipt_handle(handle).build().ok()
            };
            message_ids.iter().enumerate().filter_map(entry).collect()
        };
        if entries.is_empty() {
            return vec![Err(LOST.to_owned()); message_ids.len()];
        }
        let request = self.client.delete_message_batch().queue_url(&self.queue_url);
        let answer = match request.set_entries(Some(entries)).send().await {
            Ok(answer) => answer,
            Err(error) => return vec![Err(code_of(&error)); message_ids.len()],
        };
        let mut results = vec![Err(LOST.to_owned()); message_ids.len()];
        let mut set = |id: &str, result| {
            if let Some(slot) = id.parse().ok().and_then(|index: usize| results.get_mut(index)) {
                *slot = result;
            }
        };
        for entry in &answer.successful {
            set(&entry.id, Ok(()));
        }
        for entry in &answer.failed {
            set(&entry.id, Err(entry.code.clone()));
        }
        let mut grips = self.grips();
        for (id, result) in message_ids.iter().zip(&results) {
            if result.is_ok() {
                grips.remove(*id);
            }
        }
        results
    }

    /// How many messages it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.grips().len()
    }

    /// Shows these messages to everybody again. What cannot be released shows again by itself when its
    /// hold is over.
    pub async fn release<'a>(&self, message_ids: impl IntoIterator<Item = &'a str>) {
        let released: Vec<(String, Grip)> = {
            let mut grips = self.grips();
            message_ids.into_iter().filter_map(|id| grips.remove_entry(id)).collect()
        };
        change(&self.client, &self.queue_url, released, Duration::ZERO).await;
    }

    /// Shows everything that it holds to everybody again. It renews nothing after that.
    pub async fn release_all(&self) {
        // A renewal that is under way must not come after the release.
        self.renewing.abort();
        let released = self.grips().drain().collect();
        change(&self.client, &self.queue_url, released, Duration::ZERO).await;
    }

    fn grips(&self) -> std::sync::MutexGuard<'_, HashMap<String, Grip>> {
        unpoisoned(&self.grips)
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

impl Drop for Holder {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// Renews each hold when half of it is over, for as long as there is anything to hold.
async fn renew(
    client: Client,
    queue_url: String,
    hold: Duration,
    grips: Arc<Mutex<HashMap<String, Grip>>>,
) {
    let mut ticks = tokio::time::interval(hold / 4);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let due: Vec<(String, Grip)> = unpoisoned(&grips)
            .iter()
            .filter(|(_, grip)| grip.until < now + hold / 2)
            .map(|(id, grip)| (id.clone(), grip.clone()))
            .collect();
        let changed = change(&client, &queue_url, due, hold).await;
        let mut grips = unpoisoned(&grips);
        for id in changed {
            if let Some(grip) = grips.get_mut(&id) {
                grip.until = now + hold;
            }
        }
    }
}

/// Changes for how long messages stay out of sight; returns the ids for which that worked.
async fn change(
    client: &Client,
    queue_url: &str,
    grips: Vec<(String, Grip)>,
    hold: Duration,
) -> Vec<String> {
    let batches = grips.chunks(BATCH_MAX).map(|batch| async move {
        let entry = |(index, (_, grip)): (usize, &(String, Grip))| {
            Change::builder()
                .id(index.to_string())
                .receipt_handle(&grip.handle)
                .visibility_timeout(seconds(hold))
                .build()
                .expect("id and handle are given")
        };
        let entries: Vec<Change> = batch.iter().enumerate().map(entry).collect();
        let request = client.change_message_visibility_batch().queue_url(queue_url);
        let Ok(answer) = request.set_entries(Some(entries)).send().await else {
            return Vec::new();
        };
        let changed = answer.successful.iter().filter_map(|entry| {
            let index: usize = entry.id.parse().ok()?;
            batch.get(index).map(|(id, _)| id.clone())
        });
        changed.collect()
    });
    let batches: Vec<_> = batches.collect();
    let changed: Vec<Vec<String>> =
        futures::stream::iter(batches).buffer_unordered(LANES).collect().await;
    changed.concat()
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

/// The maps are whole between any two statements, so a panic elsewhere cannot have broken them.
fn unpoisoned<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
