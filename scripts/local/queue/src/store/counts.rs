//! How many messages a queue holds.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{LANE_OF_ALL, Queue, Store};
use crate::error::QueueError;

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

impl Store {
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
}
