//! Queues and messages in SQLite: one synchronous function per change, each with flat cost in
//! the depth of the queue.
//!
//! A message is visible from its `due_ms` on. Sending sets it to now plus the delay, receiving to
//! now plus the visibility timeout, so one index answers what can be received, what is in flight
//! and when a waiter has to look again. `number` is never reused and `receives` grows with every
//! receive: together they are what a receipt handle proves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::attributes::{
    Attributes, DELAY, REDRIVE_POLICY, RETENTION, Redrive, SIZE_MAX, VISIBILITY_TIMEOUT,
};
use super::error::{QueueError, invalid_value};
use super::handle::Handle;
use super::message::{Message, attributes_to_json};

/// The most messages of one queue that can be in flight (SQS's quota for standard queues).
const IN_FLIGHT_MAX: usize = 120_000;
/// Longest that a message may stay in flight after one receive (SQS's quota), in seconds.
const IN_FLIGHT_S_MAX: i64 = 43_200;
/// Shortest time between two purges of a queue (SQS's quota), in milliseconds.
const PURGE_INTERVAL_MS: i64 = 60_000;
/// Rounds of expired or dead messages that one receive clears away before others get their turn.
const ROUNDS_MAX: usize = 100;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS queues (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, attributes TEXT NOT NULL,
    created_ms INTEGER NOT NULL, modified_ms INTEGER NOT NULL, purged_ms INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY AUTOINCREMENT, queue INTEGER NOT NULL, due_ms INTEGER NOT NULL,
    receives INTEGER NOT NULL DEFAULT 0, sent_ms INTEGER NOT NULL, first_received_ms INTEGER,
    received_ms INTEGER, source TEXT, message_id TEXT NOT NULL, trace TEXT, attributes TEXT,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS due ON messages (queue, due_ms, receives, sent_ms);
CREATE TABLE IF NOT EXISTS totals (queue INTEGER PRIMARY KEY, messages INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS move_tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, handle TEXT NOT NULL UNIQUE, source TEXT NOT NULL,
    destination TEXT, rate INTEGER, status TEXT NOT NULL, failure TEXT, moved INTEGER NOT NULL,
    to_move INTEGER NOT NULL, number_max INTEGER NOT NULL, started_ms INTEGER NOT NULL,
    next_ms INTEGER NOT NULL
) STRICT;";

/// Tells the time in milliseconds since 1970; tests pass their own.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How many messages a queue holds, expired ones left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Can be received now.
    pub visible: u64,
    /// Received, neither deleted nor visible again.
    pub in_flight: u64,
    /// Not visible for the first time yet.
    pub delayed: u64,
}

/// One connection to the database, and the clock.
pub(super) struct Store {
    pub(super) connection: Connection,
    clock: Clock,
    /// Names of the queues where a waiter may find something after the next commit.
    pub(super) touched: BTreeSet<String>,
    /// When the next batch of a move task is due.
    pub(super) next_move_ms: Option<i64>,
    /// By queue: how many messages can go in flight before they have to be counted again.
    room: HashMap<i64, usize>,
}

/// A queue as it is stored.
pub(super) struct Queue {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) attributes: Attributes,
    pub(super) created_ms: i64,
    pub(super) modified_ms: i64,
    purged_ms: Option<i64>,
}

/// A message that was just received.
pub(super) struct Taken {
    pub(super) handle: Handle,
    pub(super) sent_ms: i64,
    pub(super) first_received_ms: i64,
    pub(super) source: Option<String>,
    pub(super) message_id: String,
    pub(super) trace: Option<String>,
    pub(super) attributes: Option<String>,
    pub(super) body: String,
}

/// What a receive found.
pub(super) struct Found {
    pub(super) messages: Vec<Taken>,
    /// When there are no messages: the time from which it is worth looking again.
    pub(super) next_ms: Option<i64>,
}

impl Store {
    /// Opens the database, creates what is missing and drops what expired.
    pub(super) fn open(file: &Path, clock: Clock) -> rusqlite::Result<Self> {
        let connection = Connection::open(file)?;
        // A commit is in the operating system's hands when it returns: NORMAL survives kill -9 of
        // this process. Only a power failure could undo the last commits, and a stand-in for
        // development need not pay an fsync per commit for that.
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
             PRAGMA cache_size = -65536;",
        )?;
        connection.execute_batch(SCHEMA)?;
        connection.set_prepared_statement_cache_capacity(64);
        let mut store = Self {
            connection,
            clock,
            touched: BTreeSet::new(),
            next_move_ms: None,
            room: HashMap::new(),
        };
        store.plan_moves()?;
        Ok(store)
    }

    /// Drops messages past their retention, and counts the others. A receive drops those that it
    /// meets; this is for the queues that nobody reads.
    pub(super) fn expire(&mut self) -> Result<(), QueueError> {
        for name in self.names("")? {
            let queue = self.queue(&name)?;
            self.connection.execute(
                "DELETE FROM messages WHERE queue = ? AND sent_ms <= ?",
                [queue.id, self.oldest_ms(&queue)],
            )?;
            self.connection.execute(
                "INSERT OR REPLACE INTO totals SELECT ?1, count(*) FROM messages WHERE queue = ?1",
                [queue.id],
            )?;
        }
        Ok(())
    }

    pub(super) fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    fn oldest_ms(&self, queue: &Queue) -> i64 {
        self.now_ms() - queue.attributes.number(RETENTION) * 1_000
    }

    // Queues.

    /// The queue of this name.
    pub(super) fn queue(&self, name: &str) -> Result<Queue, QueueError> {
        let read = |row: &Row<'_>| {
            let attributes: String = row.get(1)?;
            Ok(Queue {
                id: row.get(0)?,
                name: name.to_owned(),
                attributes: serde_json::from_str(&attributes).unwrap_or_default(),
                created_ms: row.get(2)?,
                modified_ms: row.get(3)?,
                purged_ms: row.get(4)?,
            })
        };
        self.connection
            .prepare_cached(
                "SELECT id, attributes, created_ms, modified_ms, purged_ms FROM queues
                 WHERE name = ?",
            )?
            .query_row([name], read)
            .optional()?
            .ok_or(QueueError::NoSuchQueue)
    }

    /// Names that begin with `prefix`, in order.
    pub(super) fn names(&self, prefix: &str) -> Result<Vec<String>, QueueError> {
        let mut statement =
            self.connection.prepare_cached("SELECT name FROM queues ORDER BY name")?;
        let names = statement.query_map([], |row| row.get::<_, String>(0))?;
        let names = names.collect::<Result<Vec<_>, _>>()?;
        Ok(names.into_iter().filter(|name| name.starts_with(prefix)).collect())
    }

    /// Names of the queues whose dead letters go to `name`.
    pub(super) fn sources_of(&self, name: &str) -> Result<Vec<String>, QueueError> {
        self.queue(name)?;
        let is_source = |source: &Redrive| source.dead_letters == name;
        let mut sources = Vec::new();
        for candidate in self.names("")? {
            if self.queue(&candidate)?.attributes.redrive().as_ref().is_some_and(is_source) {
                sources.push(candidate);
            }
        }
        Ok(sources)
    }

    /// CreateQueue: nothing happens where the queue exists with these attributes.
    pub(super) fn create(
        &mut self,
        name: &str,
        wanted: &BTreeMap<String, String>,
    ) -> Result<(), QueueError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > 80 || !name.bytes().all(legal) {
            return Err(QueueError::InvalidParameter(
                "Can only include alphanumeric characters, hyphens, or underscores. \
                 1 to 80 in length"
                    .into(),
            ));
        }
        match self.queue(name) {
            Ok(queue) => match queue.attributes.conflict(wanted)? {
                Some(attribute) => Err(QueueError::NameExists(attribute)),
                None => Ok(()),
            },
            Err(QueueError::NoSuchQueue) => {
                let mut attributes = Attributes::default();
                attributes.set(wanted)?;
                self.check_redrive(name, &attributes)?;
                let now_ms = self.now_ms();
                self.connection.execute(
                    "INSERT INTO queues (name, attributes, created_ms, modified_ms)
                     VALUES (?, ?, ?, ?)",
                    params![name, to_text(&attributes), now_ms, now_ms],
                )?;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// SetQueueAttributes.
    pub(super) fn set_attributes(
        &mut self,
        name: &str,
        changes: &BTreeMap<String, String>,
    ) -> Result<(), QueueError> {
        let mut queue = self.queue(name)?;
        queue.attributes.set(changes)?;
        if changes.contains_key(REDRIVE_POLICY) {
            self.check_redrive(name, &queue.attributes)?;
        }
        self.connection.execute(
            "UPDATE queues SET attributes = ?, modified_ms = ? WHERE id = ?",
            params![to_text(&queue.attributes), self.now_ms(), queue.id],
        )?;
        self.touched.insert(queue.name);
        Ok(())
    }

    fn check_redrive(&self, name: &str, attributes: &Attributes) -> Result<(), QueueError> {
        let Some(redrive) = attributes.redrive() else {
            return Ok(());
        };
        let refuse =
            |reason| Err(invalid_value(&attributes.0[REDRIVE_POLICY], REDRIVE_POLICY, reason));
        match self.queue(&redrive.dead_letters) {
            Ok(target) if target.attributes.allows_redrive_from(name) => Ok(()),
            Ok(_) => refuse("The dead-letter queue does not allow this source queue."),
            Err(QueueError::NoSuchQueue) => refuse("Dead letter target does not exist."),
            Err(error) => Err(error),
        }
    }

    /// DeleteQueue, with everything in it.
    pub(super) fn delete_queue(&mut self, name: &str) -> Result<(), QueueError> {
        let queue = self.queue(name)?;
        self.clear(queue.id)?;
        self.connection.execute("DELETE FROM queues WHERE id = ?", [queue.id])?;
        self.touched.insert(queue.name);
        Ok(())
    }

    /// PurgeQueue.
    pub(super) fn purge(&mut self, name: &str) -> Result<(), QueueError> {
        let queue = self.queue(name)?;
        let now_ms = self.now_ms();
        if queue.purged_ms.is_some_and(|purged_ms| now_ms < purged_ms + PURGE_INTERVAL_MS) {
            return Err(QueueError::PurgeInProgress(queue.name));
        }
        self.clear(queue.id)?;
        self.connection
            .execute("UPDATE queues SET purged_ms = ? WHERE id = ?", [now_ms, queue.id])?;
        Ok(())
    }

    fn clear(&self, queue: i64) -> Result<(), QueueError> {
        self.connection.execute("DELETE FROM messages WHERE queue = ?", [queue])?;
        self.connection.execute("DELETE FROM totals WHERE queue = ?", [queue])?;
        Ok(())
    }

    /// Counts one queue. What cannot be received now is counted one by one, the rest is what is
    /// left of the total, so it costs nothing that a queue is deep.
    pub(super) fn counts(&self, name: &str) -> Result<Counts, QueueError> {
        let queue = self.queue(name)?;
        let oldest_ms = self.oldest_ms(&queue);
        // Numbers rise with the time of sending, so where the first message of all has not expired
        // for this queue, none has.
        let first_ms: Option<i64> = self
            .connection
            .prepare_cached("SELECT sent_ms FROM messages ORDER BY number LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()?;
        if first_ms.is_some_and(|first_ms| first_ms <= oldest_ms) {
            return self.counts_one_by_one(&queue, oldest_ms);
        }
        let (total, in_flight, delayed): (u64, u64, u64) = self
            .connection
            .prepare_cached(
                "SELECT coalesce((SELECT messages FROM totals WHERE queue = ?1), 0),
                        count(*) FILTER (WHERE receives > 0),
                        count(*) FILTER (WHERE receives = 0)
                 FROM messages INDEXED BY due WHERE queue = ?1 AND due_ms > ?2",
            )?
            .query_row([queue.id, self.now_ms()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        let visible = total.saturating_sub(in_flight + delayed);
        Ok(Counts { visible, in_flight, delayed })
    }

    /// Counts one queue by reading its whole index, and leaves out what expired.
    fn counts_one_by_one(&self, queue: &Queue, oldest_ms: i64) -> Result<Counts, QueueError> {
        let read = |row: &Row<'_>| {
            Ok(Counts { visible: row.get(0)?, in_flight: row.get(1)?, delayed: row.get(2)? })
        };
        let counts = self
            .connection
            .prepare_cached(
                "SELECT count(*) FILTER (WHERE due_ms <= ?2),
                        count(*) FILTER (WHERE due_ms > ?2 AND receives > 0),
                        count(*) FILTER (WHERE due_ms > ?2 AND receives = 0)
                 FROM messages WHERE queue = ?1 AND sent_ms > ?3",
            )?
            .query_row([queue.id, self.now_ms(), oldest_ms], read)?;
        Ok(counts)
    }

    /// Notes that a queue holds so many messages more, or fewer. Whoever inserts, deletes or moves
    /// messages calls it in the same transaction.
    pub(super) fn add_to_total(&self, queue: i64, messages: i64) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(
                "INSERT INTO totals VALUES (?1, ?2)
                 ON CONFLICT (queue) DO UPDATE SET messages = messages + ?2",
            )?
            .execute([queue, messages])?;
        Ok(())
    }

    // Messages.

    /// Queues messages; those over the queue's size limit are refused one by one.
    pub(super) fn send(
        &mut self,
        name: &str,
        messages: &[Message],
    ) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        let queue = self.queue(name)?;
        let now_ms = self.now_ms();
        let bytes_max = queue.attributes.number(SIZE_MAX);
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO messages (queue, due_ms, sent_ms, message_id, trace, attributes, body)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?;
        let mut results = Vec::with_capacity(messages.len());
        let mut sent = 0;
        for message in messages {
            if i64::try_from(message.bytes()).is_ok_and(|bytes| bytes > bytes_max) {
                results.push(Err(QueueError::InvalidParameter(format!(
                    "One or more parameters are invalid. Reason: Message must be shorter than \
                     {bytes_max} bytes."
                ))));
                continue;
            }
            let delay_s = message.delay_s.unwrap_or_else(|| queue.attributes.number(DELAY));
            let attributes = (!message.attributes.is_empty())
                .then(|| attributes_to_json(&message.attributes).to_string());
            insert.execute(params![
                queue.id,
                now_ms + delay_s * 1_000,
                now_ms,
                message.id,
                message.trace,
                attributes,
                message.body
            ])?;
            results.push(Ok(()));
            sent += 1;
        }
        self.add_to_total(queue.id, sent)?;
        self.touched.insert(queue.name);
        Ok(results)
    }

    /// Receives up to `max` visible messages, oldest first. What expired is dropped on the way,
    /// and what was received too often moves to the dead-letter queue.
    pub(super) fn receive(
        &mut self,
        name: &str,
        max: usize,
        visibility_s: Option<i64>,
    ) -> Result<Found, QueueError> {
        let queue = self.queue(name)?;
        let now_ms = self.now_ms();
        let timeout_s = visibility_s.unwrap_or_else(|| queue.attributes.number(VISIBILITY_TIMEOUT));
        let dead_letters = self.dead_letters(&queue)?;
        let mut messages = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let candidates = self.visible(queue.id, now_ms, max)?;
            let room = match candidates.is_empty() {
                true => break,
                false => self.room(queue.id, candidates.len())?,
            };
            for (number, receives, sent_ms) in candidates {
                let dead = dead_letters.as_ref().filter(|(_, max)| receives >= *max);
                if sent_ms <= self.oldest_ms(&queue) {
                    self.drop_message(queue.id, number)?;
                } else if let Some((target, _)) = dead {
                    self.bury(number, &queue, target)?;
                } else if messages.len() < room {
                    messages.push(self.take(queue.id, number, now_ms, timeout_s)?);
                }
            }
            if !messages.is_empty() {
                break;
            }
        }
        if let Some(room) = self.room.get_mut(&queue.id) {
            *room = room.saturating_sub(messages.len());
        }
        let next_ms = if messages.is_empty() { self.next_due_ms(queue.id)? } else { None };
        Ok(Found { messages, next_ms })
    }

    /// The dead-letter queue and the last permitted receive. A target that was deleted counts as
    /// no policy: the messages stay where they can be seen.
    fn dead_letters(&self, queue: &Queue) -> Result<Option<(Queue, i64)>, QueueError> {
        let Some(redrive) = queue.attributes.redrive() else {
            return Ok(None);
        };
        match self.queue(&redrive.dead_letters) {
            Ok(target) => Ok(Some((target, redrive.receives_max))),
            Err(QueueError::NoSuchQueue) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Number, receives and sent time of visible messages.
    fn visible(
        &self,
        queue: i64,
        now_ms: i64,
        max: usize,
    ) -> Result<Vec<(i64, i64, i64)>, QueueError> {
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let mut statement = self.connection.prepare_cached(
            "SELECT number, receives, sent_ms FROM messages INDEXED BY due
             WHERE queue = ? AND due_ms <= ? ORDER BY due_ms, receives, sent_ms, number LIMIT ?",
        )?;
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let rows = statement.query_map([queue, now_ms, max], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// How many of `wanted` messages may go in flight. Deletes give their room back only at the
    /// next count, so that counting costs nothing per message.
    fn room(&mut self, queue: i64, wanted: usize) -> Result<usize, QueueError> {
        let known = self.room.get(&queue).copied().unwrap_or(0);
        if known >= wanted {
            return Ok(known);
        }
        let in_flight: usize = self
            .connection
            .prepare_cached(
                "SELECT count(*) FROM messages WHERE queue = ? AND due_ms > ? AND receives > 0",
            )?
            .query_row([queue, self.now_ms()], |row| row.get(0))?;
        let room = IN_FLIGHT_MAX.saturating_sub(in_flight);
        self.room.insert(queue, room);
        if room == 0 { Err(QueueError::OverLimit) } else { Ok(room) }
    }

    pub(super) fn drop_message(&self, queue: i64, number: i64) -> Result<(), QueueError> {
        self.connection
            .prepare_cached("DELETE FROM messages WHERE number = ?")?
            .execute([number])?;
        self.add_to_total(queue, -1)?;
        Ok(())
    }

    /// Moves a message to the dead-letter queue: all of it stays, its clock and count too.
    fn bury(&mut self, number: i64, source: &Queue, target: &Queue) -> Result<(), QueueError> {
        self.connection
            .prepare_cached(
                "UPDATE messages SET queue = ?, due_ms = ?, source = ? WHERE number = ?",
            )?
            .execute(params![target.id, self.now_ms(), source.name, number])?;
        self.add_to_total(source.id, -1)?;
        self.add_to_total(target.id, 1)?;
        self.touched.insert(target.name.clone());
        Ok(())
    }

    fn take(
        &self,
        queue: i64,
        number: i64,
        now_ms: i64,
        timeout_s: i64,
    ) -> Result<Taken, QueueError> {
        let read = |row: &Row<'_>| {
            Ok(Taken {
                handle: Handle { queue, number, receives: row.get(0)? },
                sent_ms: row.get(1)?,
                first_received_ms: row.get(2)?,
                source: row.get(3)?,
                message_id: row.get(4)?,
                trace: row.get(5)?,
                attributes: row.get(6)?,
                body: row.get(7)?,
            })
        };
        // Not RETURNING: it makes SQLite journal every page anew for every message.
        let taken = self
            .connection
            .prepare_cached(
                "SELECT receives + 1, sent_ms, coalesce(first_received_ms, ?2), source, message_id,
                        trace, attributes, body
                 FROM messages WHERE number = ?1",
            )?
            .query_row([number, now_ms], read)?;
        self.connection
            .prepare_cached(
                "UPDATE messages SET due_ms = ?2, receives = receives + 1, received_ms = ?3,
                        first_received_ms = coalesce(first_received_ms, ?3)
                 WHERE number = ?1",
            )?
            .execute([number, now_ms + timeout_s * 1_000, now_ms])?;
        Ok(taken)
    }

    fn next_due_ms(&self, queue: i64) -> Result<Option<i64>, QueueError> {
        let due_ms = self
            .connection
            .prepare_cached("SELECT min(due_ms) FROM messages WHERE queue = ?")?
            .query_row([queue], |row| row.get(0))?;
        Ok(due_ms)
    }

    /// Deletes messages. A handle that a later receive made stale deletes nothing, and that is a
    /// success; a handle of another queue is refused.
    pub(super) fn delete(
        &mut self,
        name: &str,
        handles: &[Handle],
    ) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        let queue = self.queue(name)?;
        let mut statement = self.connection.prepare_cached(
            "DELETE FROM messages WHERE number = ? AND queue = ? AND receives = ?",
        )?;
        let mut results = Vec::with_capacity(handles.len());
        let mut deleted = 0;
        for handle in handles {
            results.push(handle.check(&queue));
            if handle.queue == queue.id {
                deleted += statement.execute([handle.number, handle.queue, handle.receives])?;
            }
        }
        self.add_to_total(queue.id, -i64::try_from(deleted).unwrap_or(i64::MAX))?;
        Ok(results)
    }

    /// Starts the visibility timeout of a message in flight anew, with this length.
    pub(super) fn change_visibility(
        &mut self,
        name: &str,
        handle: &Handle,
        timeout_s: i64,
    ) -> Result<(), QueueError> {
        let queue = self.queue(name)?;
        handle.check(&queue)?;
        let now_ms = self.now_ms();
        let found: Option<(i64, i64)> = self
            .connection
            .prepare_cached(
                "SELECT due_ms, received_ms FROM messages
                 WHERE number = ? AND queue = ? AND receives = ?",
            )?
            .query_row([handle.number, handle.queue, handle.receives], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let Some((due_ms, received_ms)) = found else {
            let reason =
                "Message does not exist or is not available for visibility timeout change.";
            return Err(invalid_value(handle, "ReceiptHandle", reason));
        };
        if due_ms <= now_ms {
            return Err(QueueError::NotInFlight);
        }
        if (now_ms - received_ms) / 1_000 + timeout_s > IN_FLIGHT_S_MAX {
            let reason =
                "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]";
            return Err(invalid_value(timeout_s, VISIBILITY_TIMEOUT, reason));
        }
        self.connection
            .prepare_cached("UPDATE messages SET due_ms = ? WHERE number = ?")?
            .execute([now_ms + timeout_s * 1_000, handle.number])?;
        self.touched.insert(queue.name);
        Ok(())
    }
}

/// The form in which the attributes of a queue are stored.
fn to_text(attributes: &Attributes) -> String {
    serde_json::json!(attributes.0).to_string()
}
