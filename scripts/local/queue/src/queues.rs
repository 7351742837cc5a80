//! The queues of one pipeline, as this process uses them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::attributes;
use crate::error::QueueError;
use crate::handle::Handle;
use crate::message::{self, Message, Received};
use crate::store::counts::Counts;
use crate::store::receive::{Found, Taken};
use crate::store::{Clock, Store};
use crate::worker::Worker;

/// What SQS reports as the sender; here every sender is the one account.
const SENDER: &str = attributes::ACCOUNT;

/// The queues of one pipeline. Cheap to clone.
#[derive(Clone)]
pub struct Queues {
    pub(crate) writer: Worker,
    pub(crate) reader: Worker,
    pub(crate) signals: Signals,
    clock: Clock,
    base_url: Arc<str>,
    pub(crate) contrary: Contrary,
    /// Tells once that an attribute has no effect.
    pub(crate) told: Arc<Once>,
}

/// Whether an old receipt handle is treated the other way this time.
pub(crate) type Contrary = Arc<dyn Fn() -> bool + Send + Sync>;

impl Queues {
    /// Opens (or creates) the SQLite file. `base_url`, for example `http://127.0.0.1:9324`, begins
    /// the queue URLs: `{base_url}/000000000000/{name}`.
    pub fn open(file: &Path, base_url: &str) -> anyhow::Result<Self> {
        let now_ms = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        };
        Self::open_with_clock(file, base_url, Arc::new(now_ms))
    }

    /// [`Queues::open`] with another clock: delays, timeouts and retention follow it. A waiter
    /// sleeps in real time, so a test moves its clock between calls and receives without waiting.
    pub fn open_with_clock(file: &Path, base_url: &str, clock: Clock) -> anyhow::Result<Self> {
        let attempt = || format!("opening the queues in {}", file.display());
        let mut store = Store::open(file, Arc::clone(&clock)).with_context(attempt)?;
        store.expire().with_context(attempt)?;
        store.plan_moves().with_context(attempt)?;
        let signals = Signals::default();
        for name in store.names("").with_context(attempt)? {
            signals.add(&name);
        }
        let reader = Store::open(file, Arc::clone(&clock)).with_context(attempt)?;
        let wake = signals.clone();
        Ok(Self {
            writer: Worker::start(store, true, move |name| wake.wake(name))?,
            reader: Worker::start(reader, false, |_| {})?,
            signals,
            clock,
            base_url: base_url.trim_end_matches('/').into(),
            contrary: Arc::new(|| false),
            told: Arc::new(Once::new()),
        })
    }

    /// Treats old receipt handles the other way whenever `contrary` says so. A handle is old when
    /// its visibility timeout is over or its message was received again. Without this, it changes
    /// the visibility timeout and deletes nothing after another receive; the other way, it changes
    /// nothing and deletes. SQS was seen to do the former and may do either.
    #[must_use]
    pub fn with_old_handles(mut self, contrary: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.contrary = Arc::new(contrary);
        self
    }

    /// Makes sure that the queue exists and has these attributes; the others stay as they are.
    pub async fn create(
        &self,
        name: &str,
        attributes: &[(&str, String)],
    ) -> Result<(), QueueError> {
        let wanted: BTreeMap<String, String> =
            attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let queue = name.to_owned();
        self.writer
            .run(move |store| match store.queue(&queue) {
                Ok(_) => store.set_attributes(&queue, &wanted),
                Err(QueueError::NoSuchQueue) => store.create(&queue, &wanted),
                Err(error) => Err(error),
            })
            .await?;
        self.signals.add(name);
        Ok(())
    }

    /// The URL that names this queue to clients.
    pub fn url(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.base_url, attributes::ACCOUNT)
    }

    /// `arn:aws:sqs:us-east-1:000000000000:{name}`
    pub fn arn(&self, name: &str) -> String {
        attributes::arn(name)
    }

    /// Queues messages, all in one transaction. The results are in their order: a message over
    /// the size limit of the queue is refused alone.
    pub async fn send(
        &self,
        name: &str,
        messages: Vec<Message>,
    ) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        let name = name.to_owned();
        self.writer.run(move |store| store.send(&name, &messages)).await
    }

    /// Receives up to `max` messages (more than SQS's ten if so wished), with all attributes. With
    /// none to receive it waits up to `wait` and returns as soon as one becomes visible.
    pub async fn receive(
        &self,
        name: &str,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Received>, QueueError> {
        self.receive_for(name, max, wait, None).await
    }

    /// [`Queues::receive`] with another visibility timeout than the queue's, in seconds.
    pub(crate) async fn receive_for(
        &self,
        name: &str,
        max: usize,
        wait: Duration,
        visibility_s: Option<i64>,
    ) -> Result<Vec<Received>, QueueError> {
        let deadline = Instant::now() + wait;
        let signal = self.signals.get(name).ok_or(QueueError::NoSuchQueue)?;
        loop {
            // Listening before looking: a message that comes in between is not missed.
            let mut changed = std::pin::pin!(signal.notified());
            changed.as_mut().enable();
            let queue = name.to_owned();
            let Found { messages, is_over_limit, next_ms } =
                self.writer.run(move |store| store.receive(&queue, max, visibility_s)).await?;
            // A long poll gets nothing, as if there were no messages.
            if is_over_limit && wait.is_zero() {
                return Err(QueueError::OverLimit);
            }
            if !messages.is_empty() || Instant::now() >= deadline {
                return Ok(messages.into_iter().map(Received::from).collect());
            }
            let due = next_ms.map_or(deadline, |next_ms| {
                let wait_ms = u64::try_from(next_ms - (self.clock)()).unwrap_or(0);
                deadline.min(Instant::now() + Duration::from_millis(wait_ms))
            });
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }

    /// Deletes messages, all in one transaction. An old handle deletes nothing and is no error;
    /// a handle that this queue never issued is one, and the others are deleted all the same.
    pub async fn delete(&self, name: &str, receipt_handles: Vec<String>) -> Result<(), QueueError> {
        let (handles, invalid): (Vec<_>, Vec<_>) =
            receipt_handles.iter().map(|text| Handle::parse(text)).partition(Result::is_ok);
        let handles: Vec<Handle> = handles.into_iter().flatten().collect();
        let (name, contrary) = (name.to_owned(), (self.contrary)());
        let results = self.writer.run(move |store| store.delete(&name, &handles, contrary)).await?;
        results.into_iter().chain(invalid.into_iter().map(|result| result.map(|_| ()))).collect()
    }

    /// How many messages the queue holds, however many. Holds up no other operation.
    pub async fn counts(&self, name: &str) -> Result<Counts, QueueError> {
        let name = name.to_owned();
        self.reader.run(move |store| store.counts(&name)).await
    }
}

impl From<Taken> for Received {
    fn from(taken: Taken) -> Self {
        let mut attributes = BTreeMap::from([
            ("ApproximateReceiveCount".to_owned(), taken.handle.receives.to_string()),
            ("SentTimestamp".to_owned(), taken.sent_ms.to_string()),
            ("SenderId".to_owned(), SENDER.to_owned()),
            ("ApproximateFirstReceiveTimestamp".to_owned(), taken.first_received_ms.to_string()),
        ]);
        if let Some(trace) = taken.trace {
            attributes.insert(message::TRACE_HEADER.to_owned(), trace);
        }
        if let Some(group) = taken.group {
            attributes.insert(message::GROUP_ID.to_owned(), group);
        }
        if let Some(source) = taken.source {
            attributes.insert("DeadLetterQueueSourceArn".to_owned(), attributes::arn(&source));
        }
        let stored = taken.attributes.and_then(|text| serde_json::from_str(&text).ok());
        let message_attributes = stored
            .and_then(|stored| message::attributes_from_json(&stored).ok())
            .unwrap_or_default();
        Self {
            message_id: taken.message_id,
            receipt_handle: taken.handle.to_string(),
            md5_of_body: message::md5_of(taken.body.as_bytes()),
            body: taken.body,
            md5_of_message_attributes: message::md5_of_attributes(&message_attributes),
            attributes,
            message_attributes,
        }
    }
}

/// Wakes who waits at a queue.
#[derive(Clone, Default)]
pub(crate) struct Signals(Arc<Mutex<HashMap<String, Arc<Notify>>>>);

impl Signals {
    pub(crate) fn add(&self, name: &str) {
        self.with(|signals| {
            signals.entry(name.to_owned()).or_default();
        });
    }

    fn get(&self, name: &str) -> Option<Arc<Notify>> {
        self.with(|signals| signals.get(name).cloned())
    }

    fn wake(&self, name: &str) {
        if let Some(signal) = self.get(name) {
            signal.notify_waiters();
        }
    }

    fn with<T>(&self, use_signals: impl FnOnce(&mut HashMap<String, Arc<Notify>>) -> T) -> T {
        // The map is whole between any two statements, so a panic elsewhere cannot have broken it.
        use_signals(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
