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
//!
//! Here stands what all changes share. The files below hold the changes:
//!
//! - `queues`: making, setting, purging, deleting a queue
//! - `messages`: sending, deleting, hiding a message
//! - `receive`: which messages come next
//! - `flights`: what is in flight
//! - `counts`: how many messages there are
//! - `moves`: message move tasks

pub(crate) mod counts;
mod flights;
mod messages;
mod moves;
mod queues;
pub(crate) mod receive;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row};

use crate::attributes::{Attributes, RETENTION};
use crate::error::QueueError;
use crate::fair::Flight;

/// The most messages of one queue that can be in flight (SQS's quota for standard queues).
const IN_FLIGHT_MAX: usize = 120_000;
/// Where messages wait that need not yield to others; no group has this name.
const LANE_OF_ALL: &str = "";

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

/// One connection to the database, and the clock.
pub(crate) struct Store {
    pub(crate) connection: Connection,
    clock: Clock,
    /// Names of the queues where a waiter may find something after the next commit.
    pub(crate) touched: BTreeSet<String>,
    /// When the next batch of a move task is due.
    pub(crate) next_move_ms: Option<i64>,
    /// By queue, what is in flight. An entry that is missing is read from the database when it is
    /// needed. So whoever changes an entry takes it out, and puts it back only when all went well.
    pub(crate) flights: HashMap<i64, Flight>,
}

/// A queue as it is stored.
pub(crate) struct Queue {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) attributes: Attributes,
    pub(crate) created_ms: i64,
    pub(crate) modified_ms: i64,
    pub(crate) purged_ms: Option<i64>,
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
        Ok(Self {
            connection,
            clock,
            touched: BTreeSet::new(),
            next_move_ms: None,
            flights: HashMap::new(),
        })
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
}
