//! Message move tasks: dead letters go back, a batch at a time, in the writer thread.
//!
//! A task is a row, so it goes on after a restart. It moves what was in the source when it
//! started and is visible; a message that comes back meanwhile is left alone.

use rusqlite::{OptionalExtension as _, Row, params};
use serde_json::{Value, json};

use super::{Queue, Store};
use crate::attributes::{DELAY, arn};
use crate::error::{QueueError, invalid_value};

/// Messages per second of a task that names no rate, and the highest rate (SQS's quota).
const RATE_MAX: i64 = 500;
/// Batches per second of a task, for rates above it.
const BATCHES_PER_S: i64 = 10;

const RUNNING: &str = "RUNNING";
const COMPLETED: &str = "COMPLETED";
const CANCELLED: &str = "CANCELLED";
const FAILED: &str = "FAILED";

/// SQS's codes for the failures of a task.
const NO_QUEUE: &str = "AWS.SimpleQueueService.NonExistentQueue";
const NO_SOURCE: &str = "CouldNotDetermineMessageSource";

struct Task {
    id: i64,
    source: String,
    destination: Option<String>,
    rate: i64,
    number_max: i64,
}

impl Store {
    /// StartMessageMoveTask; returns the task's handle.
    pub(crate) fn start_move(
        &mut self,
        source: &str,
        destination: Option<&str>,
        rate: Option<i64>,
    ) -> Result<String, QueueError> {
        let queue = self.move_queue(source, "SourceArn")?;
        if let Some(destination) = destination {
            self.move_queue(destination, "DestinationArn")?;
        }
        let refuse = |text: &str| Err(QueueError::InvalidParameter(text.into()));
        if self.sources_of(source)?.is_empty() {
            return refuse("Source queue must be configured as a Dead Letter Queue.");
        }
        if rate.is_some_and(|rate| !(1..=RATE_MAX).contains(&rate)) {
            let reason = "Must be between 1 and 500, if provided.";
            let rate = rate.unwrap_or_default();
            return Err(invalid_value(rate, "MaxNumberOfMessagesPerSecond", reason));
        }
        let running: i64 = self.connection.query_row(
            "SELECT count(*) FROM move_tasks WHERE source = ? AND status = ?",
            [source, RUNNING],
            |row| row.get(0),
        )?;
        if running > 0 {
            return refuse(
                "There is already a task running. Only one active task is allowed for a source \
                 queue arn at a given time.",
            );
        }
        let handle = uuid::Uuid::new_v4().to_string();
        self.connection.execute(
            "INSERT INTO move_tasks (handle, source, destination, rate, status, moved, to_move,
                                     number_max, started_ms, next_ms)
             SELECT ?1, ?2, ?3, ?4, ?5, 0, count(*), coalesce(max(number), 0), ?6, ?6
             FROM messages WHERE queue = ?7",
            params![handle, source, destination, rate, RUNNING, self.now_ms(), queue],
        )?;
        self.plan_moves()?;
        Ok(handle)
    }

    /// ListMessageMoveTasks, the latest first.
    pub(crate) fn list_moves(&self, source: &str, max: i64) -> Result<Vec<Value>, QueueError> {
        self.move_queue(source, "SourceArn")?;
        let mut statement = self.connection.prepare(
            "SELECT handle, status, destination, rate, failure, moved, to_move, started_ms
             FROM move_tasks WHERE source = ? ORDER BY id DESC LIMIT ?",
        )?;
        let read = |row: &Row<'_>| {
            let status: String = row.get(1)?;
            let handle: Option<String> = Some(row.get(0)?).filter(|_| status == RUNNING);
            let mut task = json!({
                "TaskHandle": handle,
                "Status": status,
                "SourceArn": arn(source),
                "DestinationArn": row.get::<_, Option<String>>(2)?.as_deref().map(arn),
                "MaxNumberOfMessagesPerSecond": row.get::<_, Option<i64>>(3)?,
                "FailureReason": row.get::<_, Option<String>>(4)?,
                "ApproximateNumberOfMessagesMoved": row.get::<_, i64>(5)?,
                "ApproximateNumberOfMessagesToMove": row.get::<_, i64>(6)?,
                "StartedTimestamp": row.get::<_, i64>(7)?,
            });
            if let Some(members) = task.as_object_mut() {
                members.retain(|_, value| !value.is_null());
            }
            Ok(task)
        };
        let tasks = statement.query_map(params![source, max], read)?;
        Ok(tasks.collect::<Result<_, _>>()?)
    }

    /// CancelMessageMoveTask; returns how many messages were moved. They stay where they are.
    pub(crate) fn cancel_move(&mut self, handle: &str) -> Result<i64, QueueError> {
        let moved = self
            .connection
            .query_row(
                "UPDATE move_tasks SET status = ? WHERE handle = ? AND status = ? RETURNING moved",
                [CANCELLED, handle, RUNNING],
                |row| row.get(0),
            )
            .optional()?;
        self.plan_moves()?;
        moved.ok_or_else(|| QueueError::NoSuchResource("Task does not exist.".into()))
    }

    /// Moves the batches that are due.
    pub(crate) fn move_batches(&mut self) -> Result<(), QueueError> {
        let read = |row: &Row<'_>| {
            Ok(Task {
                id: row.get(0)?,
                source: row.get(1)?,
                destination: row.get(2)?,
                rate: row.get::<_, Option<i64>>(3)?.unwrap_or(RATE_MAX),
                number_max: row.get(4)?,
            })
        };
        let tasks: Vec<Task> = self
            .connection
            .prepare_cached(
                "SELECT id, source, destination, rate, number_max FROM move_tasks
                 WHERE status = ? AND next_ms <= ?",
            )?
            .query_map(params![RUNNING, self.now_ms()], read)?
            .collect::<Result<_, _>>()?;
        for task in tasks {
            let batch = (task.rate / BATCHES_PER_S).max(1);
            let (moved, failure) = self.move_batch(&task, batch)?;
            let status = match failure {
                Some(_) => FAILED,
                None if moved < batch => COMPLETED,
                None => RUNNING,
            };
            self.connection.execute(
                "UPDATE move_tasks SET status = ?, failure = ?, moved = moved + ?, next_ms = ?
                 WHERE id = ?",
                params![status, failure, moved, self.now_ms() + batch * 1_000 / task.rate, task.id],
            )?;
        }
        self.plan_moves()?;
        Ok(())
    }

    /// Moves up to `max` messages; returns how many, and SQS's code for why it cannot go on.
    fn move_batch(
        &mut self,
        task: &Task,
        max: i64,
    ) -> Result<(i64, Option<&'static str>), QueueError> {
        let source = match self.queue(&task.source) {
            Ok(source) => source,
            Err(QueueError::NoSuchQueue) => return Ok((0, Some(NO_QUEUE))),
            Err(error) => return Err(error),
        };
        let messages: Vec<(i64, Option<String>)> = self
            .connection
            .prepare_cached(
                "SELECT number, source FROM messages INDEXED BY due
                 WHERE queue = ? AND due_ms <= ? AND number <= ?
                 ORDER BY lane, due_ms, receives, sent_ms, number LIMIT ?",
            )?
            .query_map([source.id, self.now_ms(), task.number_max, max], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<Result<_, _>>()?;
        let mut moved = 0;
        for (number, origin) in messages {
            let Some(target) = task.destination.as_ref().or(origin.as_ref()) else {
                return Ok((moved, Some(NO_SOURCE)));
            };
            match self.queue(target) {
                Ok(target) => self.move_message(source.id, number, &target)?,
                Err(QueueError::NoSuchQueue) => return Ok((moved, Some(NO_QUEUE))),
                Err(error) => return Err(error),
            }
            moved += 1;
        }
        Ok((moved, None))
    }

    /// Sends the message anew, with a new id and a new clock, and removes the old one.
    fn move_message(&mut self, source: i64, number: i64, target: &Queue) -> Result<(), QueueError> {
        let now_ms = self.now_ms();
        let due_ms = now_ms + target.attributes.number(DELAY) * 1_000;
        let id = uuid::Uuid::new_v4().to_string();
        self.connection
            .prepare_cached(
                "INSERT INTO messages (queue, due_ms, sent_ms, message_group, message_id, trace,
                                       attributes, body)
                 SELECT ?, ?, ?, message_group, ?, trace, attributes, body
                 FROM messages WHERE number = ?",
            )?
            .execute(params![target.id, due_ms, now_ms, id, number])?;
        self.drop_message(source, number)?;
        self.add_to_total(target.id, 1)?;
        self.touched.insert(target.name.clone());
        Ok(())
    }

    /// Notes when the next batch is due.
    pub(crate) fn plan_moves(&mut self) -> rusqlite::Result<()> {
        self.next_move_ms = self
            .connection
            .prepare_cached("SELECT min(next_ms) FROM move_tasks WHERE status = ?")?
            .query_row([RUNNING], |row| row.get(0))?;
        Ok(())
    }

    fn move_queue(&self, name: &str, parameter: &str) -> Result<i64, QueueError> {
        match self.queue(name) {
            Ok(queue) => Ok(queue.id),
            Err(QueueError::NoSuchQueue) => Err(QueueError::NoSuchResource(format!(
                "The resource that you specified for the {parameter} parameter doesn't exist."
            ))),
            Err(error) => Err(error),
        }
    }
}
