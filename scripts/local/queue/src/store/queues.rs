//! Changes of queues.

use std::collections::BTreeMap;

use rusqlite::params;

use super::Store;
use crate::attributes::{Attributes, REDRIVE_POLICY, Redrive};
use crate::error::{QueueError, invalid_value};

/// Shortest time between two purges of a queue (SQS's quota), in milliseconds.
const PURGE_INTERVAL_MS: i64 = 60_000;

impl Store {
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
}

/// The form in which the attributes of a queue are stored.
fn to_text(attributes: &Attributes) -> String {
    serde_json::json!(attributes.0).to_string()
}
