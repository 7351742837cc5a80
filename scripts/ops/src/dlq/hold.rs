//! Looking without consuming. A message is received and *held*: for as long as the hold lasts, the queue
//! shows it to nobody else. It is released when the command is done with it. If this process is killed
//! instead, the hold ends by itself and the queue shows the message again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry as Change, DeleteMessageBatchRequestEntry as Delete,
    MessageSystemAttributeName,
};
use function::queue::code_of;
use futures::StreamExt;
use tokio::task::AbortHandle;

use crate::dlq::letter::Letter;
use crate::error::Error;
use crate::queue::{BATCH_MAX, Depth, LANES, depth};

/// Messages held at once. SQS allows no more than 120,000 messages in flight.
pub const HELD_MAX: usize = 100_000;

/// How long a receive waits for messages. A receive that waits asks all of SQS's servers, one that does not
/// asks only some of them.
const WAIT_SECONDS: i32 = 1;

/// Why nothing can be done with a message: its hold has ended, and somebody else may have received it.
pub(crate) const LOST: &str = "the hold was lost; run again";

/// The hold on one message.
#[derive(Debug, Clone)]
struct Grip {
    /// What the queue knows this receive by.
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

impl Holder {
    /// A holder that holds nothing yet. `hold` is how long the queue hides a message if this process is
    /// killed.
    #[must_use]
    pub fn new(client: Client, queue_url: String, hold: Duration) -> Holder {
        let grips = Arc::new(Mutex::new(HashMap::new()));
        let renewing =
            tokio::spawn(renew(client.clone(), queue_url.clone(), hold, Arc::clone(&grips)));
        Holder { client, queue_url, hold, grips, renewing: renewing.abort_handle() }
    }

    /// How long each of its holds lasts.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.hold
    }

    /// The queue's counts.
    ///
    /// # Errors
    /// The queue does not answer.
    pub async fn depth(&self) -> Result<Depth, Error> {
        depth(&self.client, &self.queue_url).await
    }

    /// Receives up to ten messages and holds them.
    ///
    /// # Errors
    /// The queue does not answer.
    pub async fn receive(&self) -> Result<Vec<Letter>, Error> {
        // Counted from before the request, so that the hold does not last longer than the queue's.
        let until = Instant::now() + self.hold;
        let received = self
            .client
            .receive_message()
            .queue_url(&self.queue_url)
            .max_number_of_messages(BATCH_MAX as i32)
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

    /// Whether it still holds a message. It loses holds when the process is stopped for too long.
    #[must_use]
    pub fn holds(&self, message_id: &str) -> bool {
        self.grips().get(message_id).is_some_and(|grip| grip.until > Instant::now())
    }

    /// Deletes up to ten held messages. For each of them, in their order, it returns whether it is deleted,
    /// or why not. The queue shows what is not deleted again when its hold ends.
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

    /// Releases these messages. Where that fails, the hold ends by itself.
    pub async fn release<'a>(&self, message_ids: impl IntoIterator<Item = &'a str>) {
        let released: Vec<(String, Grip)> = {
            let mut grips = self.grips();
            message_ids.into_iter().filter_map(|id| grips.remove_entry(id)).collect()
        };
        change(&self.client, &self.queue_url, released, Duration::ZERO).await;
    }

    /// Releases everything that it holds. After that it renews no hold any more.
    pub async fn release_all(&self) {
        // A renewal that is under way must not come after the release.
        self.renewing.abort();
        let released = self.grips().drain().collect();
        change(&self.client, &self.queue_url, released, Duration::ZERO).await;
    }

    fn grips(&self) -> MutexGuard<'_, HashMap<String, Grip>> {
        unpoisoned(&self.grips)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// Renews each hold when half of it is over, until the task is aborted.
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

/// Makes holds last for so long from now on; returns the ids of the messages for which that worked.
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

/// The map is whole between any two statements, so a panic elsewhere cannot have broken it.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
