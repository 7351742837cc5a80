//! What is in flight in each queue, kept in memory and read from the database when it is missing.

use rusqlite::params;

use super::{LANE_OF_ALL, Store};
use crate::error::QueueError;
use crate::fair::Flight;

impl Store {
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
}
