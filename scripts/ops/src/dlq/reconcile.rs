//! `reconcile`: comparing what clients are told with what is in the dead-letter queue. When a letter expires
//! there, the record that says `held` stays, and its client would be told to wait for ever.
//!
//! A **record** is what the tables say of a submission that is not the stored one. A *held record* is one
//! that says `held`.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use schema::timestamp::rfc3339;
use serde_json::json;
use tables::{Failure, Kind, PaymentsTable, Record};

use crate::audit::Audit;
use crate::clock::{ms_of, now_ms};
use crate::dlq::desk::Desk;
use crate::dlq::filter::Filter;
use crate::dlq::letter::Letter;
use crate::dlq::report::{Failed, print_failed};
use crate::dlq::standing::{End, Outcome, Submitted, standing_of};
use crate::error::{Ending, Error};
use crate::queue::depth;
use crate::terminal::{clipped, minute_of, note, print, progress, span, table};

/// A held record without a letter is changed only when it is older than both queues together keep a message,
/// plus this much, because clocks may differ.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// Submissions that are looked up, or recorded, at once.
const LOOKS_MAX: usize = 16;

/// Rows of each table that is shown.
const ROWS_MAX: usize = 20;

/// Where letters and records do not agree.
#[derive(Default)]
struct Compared {
    /// Letters that have no outcome and are not on record as held.
    unrecorded: Vec<Letter>,
    /// Held records whose letter is missing and so old that it must have expired.
    gone: Vec<Record>,
    /// Held records whose letter is missing and whose payment another request has stored.
    duplicates: Vec<Record>,
    /// Held records whose letter is missing but may still be in one of the queues.
    young: Vec<Record>,
    /// How many held records are of submissions that are stored by now. Their clients are told so.
    stored: usize,
}

/// Compares held records with letters. With `yes` it also writes the records that are missing or wrong.
///
/// # Errors
/// A queue or a table does not answer, the tables are not known, or the audit log cannot be written.
pub async fn reconcile(desk: &Desk, yes: bool) -> Result<Ending, Error> {
    let tables = desk.place.tables_to("compare records with letters")?;
    let holder = desk.holder();
    let selection = desk.select(&holder, &Filter::default(), yes).await?;
    let (letters, is_all) = (selection.letters.len(), selection.is_all);
    // This tool holds the letters until their records are written, so that nobody sends one back meanwhile.
    let compared = compare(desk, tables, selection.letters).await;
    let done = match compared {
        Ok((compared, bound)) => {
            print(&compared.shown(letters, bound));
            settle(desk, tables, compared, is_all, yes).await
        }
        Err(error) => Err(error),
    };
    holder.release_all().await;
    done
}

/// Finds out where letters and records do not agree. Also returns the age that no message in the queues can
/// have.
async fn compare(
    desk: &Desk,
    tables: &PaymentsTable,
    letters: Vec<Letter>,
) -> Result<(Compared, Duration), Error> {
    let place = &desk.place;
    let (main, dead) = tokio::try_join!(
        depth(&place.sqs, &place.queue_url),
        depth(&place.sqs, &place.dead_letter_queue_url)
    )?;
    let bound = main.retention + dead.retention + GRACE;
    let oldest_ms = now_ms().saturating_sub(i64::try_from(bound.as_millis()).unwrap_or(i64::MAX));
    let key = |letter: &Letter| Submitted::by_letter(letter).map(|submitted| submitted.key());
    let keys: HashSet<_> = letters.iter().filter_map(key).collect();
    let mut compared = Compared::default();

    let bar = progress("asking the tables", letters.len() as u64);
    let standings =
        letters.into_iter().map(async |letter| (standing_of(tables, &letter).await, letter));
    let mut standings = futures::stream::iter(standings).buffer_unordered(LOOKS_MAX);
    while let Some((standing, letter)) = standings.next().await {
        let standing = standing.map_err(unanswered)?;
        let is_held = standing.record.is_some_and(|record| record.kind == Kind::Held);
        let has_client = Submitted::by_letter(&letter).is_some();
        if has_client && standing.outcome == Outcome::Open && !is_held {
            compared.unrecorded.push(letter);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();

    let mut start = None;
    loop {
        let (records, next) = tables.held_records(start).await.map_err(unanswered)?;
        let without_letter = records.into_iter().filter(|record| {
            let key = (&record.user_id, &record.payment_id, &record.request_id);
            !keys.contains(&(key.0.clone(), key.1.clone(), key.2.clone()))
        });
        compared.sort(tables, without_letter.collect(), &rfc3339(oldest_ms)).await?;
        start = next;
        if start.is_none() || desk.interrupt.is_set() {
            return Ok((compared, bound));
        }
    }
}

impl Compared {
    /// Sorts held records whose letter is missing by what has become of their submissions.
    async fn sort(
        &mut self,
        tables: &PaymentsTable,
        records: Vec<Record>,
        oldest: &str,
    ) -> Result<(), Error> {
        // The records come from an index, which has no bodies and may be behind the table. So each record is
        // read again from the table itself.
        let whole = records.into_iter().map(async |record| {
            let payment_id = record.payment_id.as_deref();
            let whole = tables.record_of(&record.user_id, payment_id, &record.request_id).await?;
            let Some(whole) = whole.filter(|whole| whole.kind == Kind::Held) else {
                return Ok(None);
            };
            let Some(submitted) = Submitted::by_record(&whole) else { return Ok(None) };
            let outcome = submitted.standing(tables).await?.outcome;
            Ok::<_, Failure>(Some((outcome, whole)))
        });
        let mut whole = futures::stream::iter(whole).buffer_unordered(LOOKS_MAX);
        while let Some(found) = whole.next().await {
            match found.map_err(unanswered)? {
                None | Some((Outcome::Refused(_), _)) => {}
                Some((Outcome::Stored, _)) => self.stored += 1,
                Some((Outcome::Duplicate, record)) => self.duplicates.push(record),
                Some((Outcome::Open, record)) if record.recorded_at.as_str() < oldest => {
                    self.gone.push(record);
                }
                Some((Outcome::Open, record)) => self.young.push(record),
            }
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.unrecorded.is_empty() && self.gone.is_empty() && self.duplicates.is_empty()
    }

    /// What the operator is told.
    fn shown(&self, letters: usize, bound: Duration) -> String {
        let bound = span(bound);
        let mut text = format!("{letters} dead letters.\n");
        let records = |records: &[Record]| {
            let row = |record: &Record| {
                let payment_id = record.payment_id.as_deref().unwrap_or("-");
                let since = ms(&record.recorded_at);
                vec![payment_id.to_owned(), minute_of(since), clipped(&record.reason, 11)]
            };
            rows(&["PAYMENT", "HELD SINCE", "REASON"], records.iter().map(row).collect())
        };
        if !self.unrecorded.is_empty() {
            let row =
                |letter: &Letter| vec![letter.message_id.clone(), clipped(letter.reason(), 17)];
            let shown = rows(&["MESSAGE", "REASON"], self.unrecorded.iter().map(row).collect());
            text += &format!(
                "\n{} letters are not on record as held. They will be, so that\ntheir clients know.\n{shown}",
                self.unrecorded.len()
            );
        }
        if !self.gone.is_empty() {
            text += &format!(
                "\n{} held records have no letter and are older than {bound}:\nthe letters have expired. \
                 Their clients will be told that\nthey are discarded.\n{}",
                self.gone.len(),
                records(&self.gone)
            );
        }
        if !self.duplicates.is_empty() {
            text += &format!(
                "\n{} held records have no letter, and another request has\nstored the payment. Their \
                 clients will be told so.\n{}",
                self.duplicates.len(),
                records(&self.duplicates)
            );
        }
        if !self.young.is_empty() {
            text += &format!(
                "\n{} held records have no letter that is to be seen, but one\nmay be on its way: they are \
                 younger than {bound}. They stay.\n{}",
                self.young.len(),
                records(&self.young)
            );
        }
        if self.stored > 0 {
            text += &format!(
                "\n{} held records are of payments stored since; their clients\nread that they are stored.\n",
                self.stored
            );
        }
        text
    }
}

/// Writes the records that are missing or wrong, if it may.
async fn settle(
    desk: &Desk,
    tables: &PaymentsTable,
    mut compared: Compared,
    is_all: bool,
    yes: bool,
) -> Result<Ending, Error> {
    if desk.interrupt.is_set() {
        return Ok(Ending::Unfinished);
    }
    if !is_all && !compared.gone.is_empty() {
        note("nothing is recorded as expired while letters are out of sight: run again");
        compared.gone.clear();
    }
    let ending = Ending::of(is_all);
    if compared.is_empty() {
        print("\nNothing is to be written.\n");
        return Ok(ending);
    }
    if !yes {
        print("\nThis was a dry run; --yes does it.\n");
        return Ok(ending);
    }
    let request_ids = |records: &[Record]| {
        records.iter().map(|record| record.request_id.clone()).collect::<Vec<_>>()
    };
    let held: Vec<&str> = compared.unrecorded.iter().map(Letter::request_id).collect();
    let about = json!({
        "who": desk.place.who().await,
        "queue": desk.place.dead_letter_queue_url,
        "revealed": false,
        "held": held,
        "expired": request_ids(&compared.gone),
        "duplicates": request_ids(&compared.duplicates),
    });
    let audit = Audit::begin(&desk.place.audit_log, "reconcile", &about)?;
    let done = write(tables, &audit, &compared).await;
    Ok(match Ending::after_changes(done) {
        Ending::Done => ending,
        Ending::Unfinished => Ending::Unfinished,
    })
}

async fn write(
    tables: &PaymentsTable,
    audit: &Audit,
    compared: &Compared,
) -> Result<Ending, Error> {
    let mut failed = Vec::new();
    let mut count = |results: Vec<(String, Result<(), Failure>)>| {
        let all = results.len();
        let why = |(id, result): (String, Result<(), Failure>)| {
            Some(Failed { message_id: id, why: result.err()?.to_string() })
        };
        let some: Vec<Failed> = results.into_iter().filter_map(why).collect();
        let written = all - some.len();
        failed.extend(some);
        written
    };
    let hold = compared.unrecorded.iter().map(async |letter| {
        let submitted = Submitted::by_letter(letter)?;
        Some((letter.message_id.clone(), submitted.record_held(tables, letter.reason()).await))
    });
    let held = futures::stream::iter(hold).buffer_unordered(LOOKS_MAX);
    let held = count(held.filter_map(std::future::ready).collect().await);
    let end = |records| ended(tables, records);
    let expired = count(end(&compared.gone).await);
    let duplicates = count(end(&compared.duplicates).await);
    let result =
        json!({ "held": held, "expired": expired, "duplicates": duplicates, "failed": failed });
    audit.end(&result)?;
    print(&format!(
        "\nOn record now: {held} as held, {expired} as discarded, {duplicates} as duplicates.\n"
    ));
    print_failed(&failed);
    Ok(Ending::of(failed.is_empty()))
}

/// Puts on record that submissions are discarded because their letters have expired, or that they are
/// duplicates, whichever the tables say now.
async fn ended(tables: &PaymentsTable, records: &[Record]) -> Vec<(String, Result<(), Failure>)> {
    let end = records.iter().map(async |record| {
        let submitted = Submitted::by_record(record)?;
        Some((record.message_id.clone(), submitted.record_ended(tables, End::Expired).await))
    });
    let ended = futures::stream::iter(end).buffer_unordered(LOOKS_MAX);
    ended.filter_map(std::future::ready).collect().await
}

/// A table of the first rows, and how many more there are.
fn rows(head: &[&str], mut all: Vec<Vec<String>>) -> String {
    let more = all.len().saturating_sub(ROWS_MAX);
    all.truncate(ROWS_MAX);
    let mut lines = table(head, &all);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n") + "\n"
}

/// A time of a record in milliseconds since 1970.
fn ms(time: &str) -> i64 {
    humantime::parse_rfc3339(time).map(ms_of).unwrap_or_default()
}

fn unanswered(failure: Failure) -> Error {
    Error::Configuration(format!("the tables cannot be asked: {failure}"))
}
