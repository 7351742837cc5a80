//! Changes of messages, except receiving them.

use rusqlite::{OptionalExtension as _, params};

use super::{IN_FLIGHT_MAX, LANE_OF_ALL, Store};
use crate::attributes::{DELAY, SIZE_MAX, VISIBILITY_TIMEOUT};
use crate::error::{QueueError, invalid_value};
use crate::handle::Handle;
use crate::message::{Message, attributes_to_json};

/// Longest that a message may stay in flight after one receive (SQS's quota), in seconds.
const IN_FLIGHT_S_MAX: i64 = 43_200;

impl Store {
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
            results.push(handle.check(queue.id));
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
        handle.check(queue.id)?;
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
