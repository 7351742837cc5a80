//! Queues and messages in SQLite: one synchronous function per change, each with flat cost in
//! the depth of the queue.
//!
//! A message is visible from its `due_ms` on. Sending sets it to now plus the delay, receiving to
//! now plus the visibility timeout, so one index answers what can be received, what is in flight
//! and when a waiter has to look again. `number` is never reused and `receives` grows with every
//! receive: together they are what a receipt handle proves.
//!
//! Messages wait in lanes: visible ones of a noisy group may be in the lane of that group, all the
//! others are in the [`LANE_OF_ALL`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::attributes::{
    Attributes, DELAY, REDRIVE_POLICY, RETENTION, Redrive, SIZE_MAX, VISIBILITY_TIMEOUT,
};
use crate::error::{QueueError, invalid_value};
use crate::fair::Flight;
use crate::handle::Handle;
use crate::message::{Message, attributes_to_json};

/// The most messages of one queue that can be in flight (SQS's quota for standard queues).
pub(crate) const IN_FLIGHT_MAX: usize = 120_000;
/// Longest that a message may stay in flight after one receive (SQS's quota), in seconds.
const IN_FLIGHT_S_MAX: i64 = 43_200;
/// Shortest time between two purges of a queue (SQS's quota), in milliseconds.
const PURGE_INTERVAL_MS: i64 = 60_000;
/// Where messages wait that need not yield to others; no group has this name.
pub(crate) const LANE_OF_ALL: &str = "";

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS queues (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, attributes TEXT NOT NULL,
    created_ms INTEGER NOT NULL, modified_ms INTEGER NOT NULL, purged_ms INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY AUTOINCREMENT, queue INTEGER NOT NULL, due_ms INTEGER NOT NULL,
    receives INTEGER NOT NULL DEFAULT 0, sent_ms INTEGER NOT NULL, first_received_ms INTEGER,
    received_ms INTEGER, message_group TEXT, lane TEXT NOT NULL DEFAULT '', source TEXT,
    message_id TEXT NOT NULL, trace TEXT, attributes TEXT, body TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS totals (queue INTEGER PRIMARY KEY, messages INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS move_tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, handle TEXT NOT NULL UNIQUE, source TEXT NOT NULL,
    destination TEXT, rate INTEGER, status TEXT NOT NULL, failure TEXT, moved INTEGER NOT NULL,
    to_move INTEGER NOT NULL, number_max INTEGER NOT NULL, started_ms INTEGER NOT NULL,
    next_ms INTEGER NOT NULL
) STRICT;";

/// What a database lacks that was written before messages had groups.
const GROUPS: &str = "
ALTER TABLE messages ADD COLUMN message_group TEXT;
ALTER TABLE messages ADD COLUMN lane TEXT NOT NULL DEFAULT '';
DROP INDEX due;";

const INDEX: &str = "
CREATE INDEX IF NOT EXISTS due ON messages (queue, lane, due_ms, receives, sent_ms);";

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
pub(crate) struct Store {
    pub(crate) connection: Connection,
    clock: Clock,
    /// Names of the queues where a waiter may find something after the next commit.
    pub(crate) touched: BTreeSet<String>,
    /// When the next batch of a move task is due.
    pub(crate) next_move_ms: Option<i64>,
    /// By queue, what is in flight. One that is missing is read from the database when it is
    /// needed, so whoever cannot finish a change of it drops it.
    pub(crate) flights: HashMap<i64, Flight>,
}

/// A queue as it is stored.
pub(crate) struct Queue {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) attributes: Attributes,
    pub(crate) created_ms: i64,
    pub(crate) modified_ms: i64,
    purged_ms: Option<i64>,
}

impl Store {
    /// Opens the database, creates what is missing and drops what expired.
    pub(crate) fn open(file: &Path, clock: Clock) -> rusqlite::Result<Self> {
        let connection = Connection::open(file)?;
        // A commit is in the operating system's hands when it returns: NORMAL survives kill -9 of
        // this process. Only a power failure could undo the last commits, and a stand-in for
        // development need not pay an fsync per commit for that.
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
             PRAGMA cache_size = -65536;",
        )?;
        connection.execute_batch(SCHEMA)?;
        let has_groups = connection
            .prepare("SELECT 1 FROM pragma_table_info('messages') WHERE name = 'lane'")?
            .exists([])?;
        if !has_groups {
            connection.execute_batch(GROUPS)?;
        }
        connection.execute_batch(INDEX)?;
        connection.set_prepared_statement_cache_capacity(64);
        let mut store = Self {
            connection,
            clock,
            touched: BTreeSet::new(),
            next_move_ms: None,
            flights: HashMap::new(),
        };
        store.plan_moves()?;
        Ok(store)
    }

    /// Drops messages past their retention, and counts the others. A receive drops those that it
    /// meets; this is for the queues that nobody reads.
    pub(crate) fn expire(&mut self) -> Result<(), QueueError> {
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

    pub(crate) fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    pub(crate) fn oldest_ms(&self, queue: &Queue) -> i64 {
        self.now_ms() - queue.attributes.number(RETENTION) * 1_000
    }

    // Queues.

    /// The queue of this name.
    pub(crate) fn queue(&self, name: &str) -> Result<Queue, QueueError> {
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
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>, QueueError> {
        let mut statement =
            self.connection.prepare_cached("SELECT name FROM queues ORDER BY name")?;
        let names = statement.query_map([], |row| row.get::<_, String>(0))?;
        let names = names.collect::<Result<Vec<_>, _>>()?;
        Ok(names.into_iter().filter(|name| name.starts_with(prefix)).collect())
    }

    /// Names of the queues whose dead letters go to `name`.
    pub(crate) fn sources_of(&self, name: &str) -> Result<Vec<String>, QueueError> {
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
    pub(crate) fn create(
        &mut self,
        name: &str,
        wanted: &BTreeMap<String, String>,
    ) -> Result<(), QueueError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > 80 || !name.bytes().all(legal) {
            let rule = match name.ends_with(".fifo") {
                true => "The name is that of a FIFO queue, which the local queue does not support.",
                false => {
                    "Can only include alphanumeric characters, hyphens, or underscores. \
                     1 to 80 in length"
                }
            };
            return Err(QueueError::InvalidParameter(rule.into()));
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
    pub(crate) fn set_attributes(
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
    pub(crate) fn delete_queue(&mut self, name: &str) -> Result<(), QueueError> {
        let queue = self.queue(name)?;
        self.clear(queue.id)?;
        self.connection.execute("DELETE FROM queues WHERE id = ?", [queue.id])?;
        self.touched.insert(queue.name);
        Ok(())
    }

    /// PurgeQueue.
    pub(crate) fn purge(&mut self, name: &str) -> Result<(), QueueError> {
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

    fn clear(&mut self, queue: i64) -> Result<(), QueueError> {
        self.flights.remove(&queue);
        self.connection.execute("DELETE FROM messages WHERE queue = ?", [queue])?;
        self.connection.execute("DELETE FROM totals WHERE queue = ?", [queue])?;
        Ok(())
    }

    /// Counts one queue. What cannot be received now is counted one by one, the rest is what is
    /// left of the total, so it costs nothing that a queue is deep.
    pub(crate) fn counts(&self, name: &str) -> Result<Counts, QueueError> {
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
                 FROM messages INDEXED BY due WHERE queue = ?1 AND lane = ?3 AND due_ms > ?2",
            )?
            .query_row(params![queue.id, self.now_ms(), LANE_OF_ALL], |row| {
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
    pub(crate) fn add_to_total(&self, queue: i64, messages: i64) -> rusqlite::Result<()> {
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
    pub(crate) fn send(
        &mut self,
        name: &str,
        messages: &[Message],
    ) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        let queue = self.queue(name)?;
        let now_ms = self.now_ms();
        let bytes_max = queue.attributes.number(SIZE_MAX);
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO messages (queue, lane, due_ms, sent_ms, message_group, message_id, trace,
                                   attributes, body)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        let mut flight = self.flights.get_mut(&queue.id);
        if let Some(flight) = &mut flight {
            flight.advance(now_ms);
        }
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
            let group = message.group.as_deref();
            let mut lane = LANE_OF_ALL;
            if let (Some(flight), Some(group)) = (&mut flight, group) {
                flight.sent(Some(group), now_ms);
                // A message that is not visible yet waits in the lane of all.
                if delay_s == 0 && flight.is_noisy(Some(group), now_ms) {
                    lane = group;
                }
            }
            insert.execute(params![
                queue.id,
                lane,
                now_ms + delay_s * 1_000,
                now_ms,
                group,
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

    pub(crate) fn drop_message(&self, queue: i64, number: i64) -> Result<(), QueueError> {
        self.connection
            .prepare_cached("DELETE FROM messages WHERE number = ?")?
            .execute([number])?;
        self.add_to_total(queue, -1)?;
        Ok(())
    }

    /// What is in flight in a queue, up to date. Whoever changed it puts it back.
    pub(crate) fn flight(&mut self, queue: i64) -> Result<Flight, QueueError> {
        let now_ms = self.now_ms();
        let mut flight = match self.flights.remove(&queue) {
            Some(flight) => flight,
            None => self.read_flight(queue, now_ms)?,
        };
        flight.advance(now_ms);
        Ok(flight)
    }

    fn read_flight(&self, queue: i64, now_ms: i64) -> Result<Flight, QueueError> {
        let mut flight = Flight::default();
        let mut in_flight = self.connection.prepare_cached(
            "SELECT number, message_group, received_ms, due_ms, sent_ms
             FROM messages INDEXED BY due
             WHERE queue = ? AND lane = ? AND due_ms > ? AND receives > 0",
        )?;
        let mut rows = in_flight.query(params![queue, LANE_OF_ALL, now_ms])?;
        while let Some(row) = rows.next()? {
            let group: Option<String> = row.get(1)?;
            flight.put(row.get(0)?, group.as_deref(), row.get(2)?, row.get(3)?);
            flight.sent(group.as_deref(), row.get(4)?);
        }
        let mut next_lane = self
            .connection
            .prepare_cached("SELECT min(lane) FROM messages WHERE queue = ? AND lane > ?")?;
        let mut lane = LANE_OF_ALL.to_owned();
        while let Some(group) =
            next_lane.query_row(params![queue, lane], |row| row.get::<_, Option<String>>(0))?
        {
            flight.restore_noisy(&group, now_ms);
            lane = group;
        }
        Ok(flight)
    }

    /// Deletes messages. A handle that a later receive made old deletes nothing, and that is a
    /// success; where `contrary`, it deletes: SQS may do either. A handle of another queue is
    /// refused.
    pub(crate) fn delete(
        &mut self,
        name: &str,
        handles: &[Handle],
        contrary: bool,
    ) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        let queue = self.queue(name)?;
        let now_ms = self.now_ms();
        let mut flight = self.flight(queue.id)?;
        let was_full = flight.len() >= IN_FLIGHT_MAX;
        let mut statement = self.connection.prepare_cached(
            "DELETE FROM messages WHERE number = ? AND queue = ? AND (receives = ? OR ?)",
        )?;
        let mut results = Vec::with_capacity(handles.len());
        let mut deleted = 0;
        for handle in handles {
            results.push(handle.check(&queue));
            let Handle { number, receives, .. } = *handle;
            if handle.queue == queue.id
                && statement.execute(params![number, queue.id, receives, contrary])? > 0
            {
                flight.end(number, now_ms);
                deleted += 1;
            }
        }
        self.add_to_total(queue.id, -deleted)?;
        self.flights.insert(queue.id, flight);
        if was_full {
            // Whoever waited for room finds some.
            self.touched.insert(queue.name.clone());
        }
        Ok(results)
    }

    /// Hides a message for so long from now on; zero shows it. SQS obeys an old handle, too: one
    /// whose visibility timeout is over, and one whose message was received again since. Where
    /// `contrary`, both are refused.
    pub(crate) fn change_visibility(
        &mut self,
        name: &str,
        handle: &Handle,
        timeout_s: i64,
        contrary: bool,
    ) -> Result<(), QueueError> {
        let queue = self.queue(name)?;
        handle.check(&queue)?;
        let now_ms = self.now_ms();
        let found: Option<(i64, i64, i64, Option<String>)> = self
            .connection
            .prepare_cached(
                "SELECT receives, due_ms, received_ms, message_group FROM messages
                 WHERE number = ? AND queue = ?",
            )?
            .query_row([handle.number, handle.queue], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()?;
        let is_obeyed = |receives: i64| receives == handle.receives || !contrary;
        let found = found.filter(|(receives, ..)| is_obeyed(*receives));
        let Some((_, due_ms, received_ms, group)) = found else {
            let reason =
                "Message does not exist or is not available for visibility timeout change.";
            return Err(invalid_value(handle, "ReceiptHandle", reason));
        };
        if due_ms <= now_ms && contrary {
            return Err(QueueError::NotInFlight);
        }
        if (now_ms - received_ms) / 1_000 + timeout_s > IN_FLIGHT_S_MAX {
            let reason =
                "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]";
            return Err(invalid_value(timeout_s, VISIBILITY_TIMEOUT, reason));
        }
        let until_ms = now_ms + timeout_s * 1_000;
        let mut flight = self.flight(queue.id)?;
        self.connection
            .prepare_cached("UPDATE messages SET lane = ?, due_ms = ? WHERE number = ?")?
            .execute(params![LANE_OF_ALL, until_ms, handle.number])?;
        match timeout_s {
            0 => flight.end(handle.number, now_ms),
            _ => flight.put(handle.number, group.as_deref(), received_ms, until_ms),
        }
        self.flights.insert(queue.id, flight);
        self.touched.insert(queue.name);
        Ok(())
    }
}

/// The form in which the attributes of a queue are stored.
fn to_text(attributes: &Attributes) -> String {
    serde_json::json!(attributes.0).to_string()
}
