//! Receiving: which messages come next, and what becomes of expired and dead ones on the way.
//!
//! The messages of a noisy group (see [`crate::fair`]) are met once in the lane of all, and put
//! aside into a lane of their own. From then on nobody has to step over them, so a backlog of any
//! depth costs the other groups nothing.

use std::collections::VecDeque;

use rusqlite::{Row, params};

use super::{IN_FLIGHT_MAX, LANE_OF_ALL, Queue, Store};
use crate::attributes::VISIBILITY_TIMEOUT;
use crate::error::QueueError;
use crate::fair::{Flight, Group};
use crate::handle::Handle;

/// Pages that one receive reads before others get their turn.
const PAGES_MAX: usize = 100;
/// Messages of a page once noisy ones have to be put aside: a hundred thousand in one receive.
const ASIDE_PAGE: usize = 1_000;

/// A message that was just received.
pub(crate) struct Taken {
    pub(crate) handle: Handle,
    pub(crate) sent_ms: i64,
    pub(crate) first_received_ms: i64,
    pub(crate) source: Option<String>,
    pub(crate) message_id: String,
    pub(crate) trace: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) attributes: Option<String>,
    pub(crate) body: String,
}

/// What a receive found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) messages: Vec<Taken>,
    /// Nothing can be received because too many messages are in flight.
    pub(crate) is_over_limit: bool,
    /// When there are no messages: the time from which it is worth looking again.
    pub(crate) next_ms: Option<i64>,
}

/// A visible message.
struct Candidate {
    number: i64,
    receives: i64,
    sent_ms: i64,
    group: Option<String>,
    /// Read at once where the message is likely to be taken: finding a row twice costs more.
    rest: Option<Rest>,
}

/// What only the receiver of a message needs of it.
struct Rest {
    first_received_ms: Option<i64>,
    source: Option<String>,
    message_id: String,
    trace: Option<String>,
    attributes: Option<String>,
    body: String,
}

impl Rest {
    /// Reads these columns, the first of which stands at this place.
    fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            first_received_ms: row.get(first)?,
            source: row.get(first + 1)?,
            message_id: row.get(first + 2)?,
            trace: row.get(first + 3)?,
            attributes: row.get(first + 4)?,
            body: row.get(first + 5)?,
        })
    }
}

/// One receive.
struct Receive {
    queue: Queue,
    /// The dead-letter queue and the last permitted receive.
    dead_letters: Option<(Queue, i64)>,
    now_ms: i64,
    until_ms: i64,
    max: usize,
    flight: Flight,
    taken: Vec<Taken>,
}

/// The visible messages of a noisy group, as far as they were read.
struct Backlog {
    group: Group,
    candidates: VecDeque<Candidate>,
    is_read: bool,
    /// The lane of the group holds no others.
    is_everything: bool,
    is_used_up: bool,
}

impl Backlog {
    fn new(group: Group) -> Self {
        Self {
            group,
            candidates: VecDeque::new(),
            is_read: false,
            is_everything: false,
            is_used_up: false,
        }
    }
}

impl Store {
    /// Receives up to `max` visible messages: those of quiet groups first, the oldest first. What
    /// expired is dropped on the way, and what was received too often moves to the dead-letter
    /// queue.
    pub(crate) fn receive(
        &mut self,
        name: &str,
        max: usize,
        visibility_s: Option<i64>,
    ) -> Result<Found, QueueError> {
        let queue = self.queue(name)?;
        let now_ms = self.now_ms();
        let timeout_s = visibility_s.unwrap_or_else(|| queue.attributes.number(VISIBILITY_TIMEOUT));
        let flight = self.flight(queue.id)?;
        let room = IN_FLIGHT_MAX.saturating_sub(flight.len());
        let mut receive = Receive {
            dead_letters: self.dead_letters(&queue)?,
            now_ms,
            until_ms: now_ms + timeout_s * 1_000,
            max: max.min(room),
            flight,
            taken: Vec::new(),
            queue,
        };
        if room > 0 {
            self.end_silence(&mut receive)?;
            let (aside, is_everything) = self.take_quiet(&mut receive)?;
            self.take_noisy(&mut receive, aside, is_everything)?;
        }
        let Receive { queue, flight, taken: messages, .. } = receive;
        let next_ms = match (room, messages.is_empty()) {
            (0, _) => flight.next_end_ms(),
            (_, true) => self.next_due_ms(queue.id)?,
            (_, false) => None,
        };
        self.flights.insert(queue.id, flight);
        Ok(Found { messages, is_over_limit: room == 0, next_ms })
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

    /// Gives the groups that have been silent for long back to the lane of all.
    fn end_silence(&self, receive: &mut Receive) -> Result<(), QueueError> {
        for group in receive.flight.silent(receive.now_ms) {
            self.connection.execute(
                "UPDATE messages SET lane = ? WHERE queue = ? AND lane = ?",
                params![LANE_OF_ALL, receive.queue.id, group],
            )?;
            receive.flight.calm(&group);
        }
        Ok(())
    }

    /// Takes messages of quiet groups. Returns the messages of noisy ones on the last page, and
    /// whether that page was the end of the lane.
    fn take_quiet(&mut self, receive: &mut Receive) -> Result<(Vec<Candidate>, bool), QueueError> {
        let mut page = receive.max;
        for _ in 0..PAGES_MAX {
            let candidates = self.visible(receive, LANE_OF_ALL, page)?;
            let is_everything = candidates.len() < page;
            let mut noisy = Vec::new();
            for candidate in candidates {
                if receive.taken.len() == receive.max {
                    return Ok((Vec::new(), false));
                }
                if self.clear_away(receive, &candidate)? {
                    continue;
                }
                if receive.flight.is_noisy(candidate.group.as_deref(), receive.now_ms) {
                    noisy.push(candidate);
                } else {
                    self.take(receive, candidate)?;
                }
            }
            if is_everything || receive.taken.len() == receive.max {
                return Ok((noisy, is_everything));
            }
            if !noisy.is_empty() {
                page = page.max(ASIDE_PAGE);
            }
            for candidate in noisy {
                self.connection
                    .prepare_cached("UPDATE messages SET lane = message_group WHERE number = ?")?
                    .execute([candidate.number])?;
            }
        }
        Ok((Vec::new(), false))
    }

    /// Fills the receive with messages of noisy groups: of the lanes of their own, and of the lane
    /// of all. Where that was read to its end, a group without any is quiet again.
    fn take_noisy(
        &mut self,
        receive: &mut Receive,
        aside: Vec<Candidate>,
        is_everything: bool,
    ) -> Result<(), QueueError> {
        let mut backlogs: Vec<Backlog> =
            receive.flight.noisy().into_iter().map(Backlog::new).collect();
        for candidate in aside {
            let is_its =
                |backlog: &&mut Backlog| candidate.group.as_deref() == Some(&backlog.group);
            if let Some(backlog) = backlogs.iter_mut().find(is_its) {
                backlog.candidates.push_back(candidate);
            }
        }
        while receive.taken.len() < receive.max {
            let in_flight = |backlog: &&mut Backlog| receive.flight.in_flight(&backlog.group);
            let is_left = |backlog: &&mut Backlog| !backlog.is_used_up;
            let Some(backlog) = backlogs.iter_mut().filter(is_left).min_by_key(in_flight) else {
                return Ok(());
            };
            if !backlog.is_read {
                let wanted = receive.max - receive.taken.len();
                let mut candidates: VecDeque<_> =
                    self.visible(receive, &backlog.group, wanted)?.into();
                backlog.is_everything = is_everything && candidates.len() < wanted;
                candidates.append(&mut backlog.candidates);
                (backlog.candidates, backlog.is_read) = (candidates, true);
            }
            match backlog.candidates.pop_front() {
                None => {
                    backlog.is_used_up = true;
                    if backlog.is_everything {
                        receive.flight.calm(&backlog.group);
                    }
                }
                Some(candidate) => {
                    if !self.clear_away(receive, &candidate)? {
                        self.take(receive, candidate)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The visible messages of a lane, in their order.
    fn visible(
        &self,
        receive: &Receive,
        lane: &str,
        max: usize,
    ) -> Result<Vec<Candidate>, QueueError> {
        let has_rest = max <= receive.max;
        let mut statement = self.connection.prepare_cached(match has_rest {
            true => {
                "SELECT number, receives, sent_ms, message_group,
                        first_received_ms, source, message_id, trace, attributes, body
                 FROM messages INDEXED BY due WHERE queue = ? AND lane = ? AND due_ms <= ?
                 ORDER BY due_ms, receives, sent_ms, number LIMIT ?"
            }
            false => {
                "SELECT number, receives, sent_ms, message_group
                 FROM messages INDEXED BY due WHERE queue = ? AND lane = ? AND due_ms <= ?
                 ORDER BY due_ms, receives, sent_ms, number LIMIT ?"
            }
        })?;
        let read = |row: &Row<'_>| {
            Ok(Candidate {
                number: row.get(0)?,
                receives: row.get(1)?,
                sent_ms: row.get(2)?,
                group: row.get(3)?,
                rest: has_rest.then(|| Rest::read(row, 4)).transpose()?,
            })
        };
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let rows =
            statement.query_map(params![receive.queue.id, lane, receive.now_ms, max], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Drops a message that expired, and buries one that was received too often; returns whether it
    /// was such a one.
    fn clear_away(&mut self, receive: &Receive, candidate: &Candidate) -> Result<bool, QueueError> {
        let dead = receive.dead_letters.as_ref().filter(|(_, max)| candidate.receives >= *max);
        if candidate.sent_ms <= self.oldest_ms(&receive.queue) {
            self.drop_message(receive.queue.id, candidate.number)?;
        } else if let Some((target, _)) = dead {
            self.bury(candidate.number, &receive.queue, target)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Moves a message to the dead-letter queue: all of it stays, its clock and count too.
    fn bury(&mut self, number: i64, source: &Queue, target: &Queue) -> Result<(), QueueError> {
        self.connection
            .prepare_cached(
                "UPDATE messages SET queue = ?, lane = ?, due_ms = ?, source = ? WHERE number = ?",
            )?
            .execute(params![target.id, LANE_OF_ALL, self.now_ms(), source.name, number])?;
        self.add_to_total(source.id, -1)?;
        self.add_to_total(target.id, 1)?;
        self.touched.insert(target.name.clone());
        Ok(())
    }

    fn take(&self, receive: &mut Receive, candidate: Candidate) -> Result<(), QueueError> {
        let (number, now_ms) = (candidate.number, receive.now_ms);
        let queue = receive.queue.id;
        // Not RETURNING: it makes SQLite journal every page anew for every message.
        let rest = match candidate.rest {
            Some(rest) => rest,
            None => self
                .connection
                .prepare_cached(
                    "SELECT first_received_ms, source, message_id, trace, attributes, body
                     FROM messages WHERE number = ?",
                )?
                .query_row([number], |row| Rest::read(row, 0))?,
        };
        self.connection
            .prepare_cached(
                "UPDATE messages SET lane = ?4, due_ms = ?2, receives = receives + 1,
                        received_ms = ?3, first_received_ms = coalesce(first_received_ms, ?3)
                 WHERE number = ?1",
            )?
            .execute(params![number, receive.until_ms, now_ms, LANE_OF_ALL])?;
        let group = candidate.group.as_deref();
        receive.flight.put(number, group, now_ms, receive.until_ms);
        receive.flight.sent(group, candidate.sent_ms);
        receive.taken.push(Taken {
            handle: Handle { queue, number, receives: candidate.receives + 1 },
            sent_ms: candidate.sent_ms,
            first_received_ms: rest.first_received_ms.unwrap_or(now_ms),
            source: rest.source,
            message_id: rest.message_id,
            trace: rest.trace,
            group: candidate.group,
            attributes: rest.attributes,
            body: rest.body,
        });
        Ok(())
    }

    fn next_due_ms(&self, queue: i64) -> Result<Option<i64>, QueueError> {
        let due_ms = self
            .connection
            .prepare_cached("SELECT min(due_ms) FROM messages WHERE queue = ? AND lane = ?")?
            .query_row(params![queue, LANE_OF_ALL], |row| row.get(0))?;
        Ok(due_ms)
    }
}
