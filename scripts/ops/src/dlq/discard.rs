//! `discard`: deleting letters whose payments must not be processed. Each letter is first made durable in an
//! archive, then its client is told, and only then it is deleted. If the process is killed in between, the
//! letter is still there, and running the command again finishes it.

use std::path::Path;

use futures::future::join_all;
use serde_json::json;

use crate::audit::Audit;
use crate::dlq::archive::write;
use crate::dlq::desk::{Desk, Selection};
use crate::dlq::filter::Filter;
use crate::dlq::hold::{Holder, LOST};
use crate::dlq::letter::{Letter, ids_of};
use crate::dlq::report::{Failed, print_failed, reasons};
use crate::dlq::standing::{End, Submitted};
use crate::error::{Ending, Error};
use crate::queue::BATCH_MAX;
use crate::terminal::{note, print, progress};

/// Archives letters, tells their clients, and deletes the letters.
///
/// # Errors
/// The queue does not answer, a file cannot be written, or the tables are not known. Then nothing was
/// deleted.
pub async fn discard(
    desk: &Desk,
    filter: &Filter,
    archive: &Path,
    why: &str,
    yes: bool,
) -> Result<Ending, Error> {
    let holder = desk.holder();
    let selection = desk.select(&holder, filter, yes).await?;
    let count = selection.letters.len();
    if !yes || desk.interrupt.is_set() {
        holder.release_all().await;
        print(&format!(
            "Would write {count} letters to {}, tell their clients that they are discarded, and delete \
             them from the dead-letter queue: {}. {} others stay.\nThis was a dry run; --yes does it.\n",
            archive.display(),
            reasons(&selection.letters),
            selection.others
        ));
        return Ok(Ending::of(!desk.interrupt.is_set()));
    }
    let begun = begin(desk, filter, &selection.letters, archive, why).await;
    if begun.is_err() {
        holder.release_all().await;
    }
    let audit = begun?;
    let done = delete_all(desk, &holder, &audit, &selection, archive).await;
    holder.release_all().await;
    Ok(Ending::after_changes(done))
}

/// Writes into the audit log what is about to be done, then makes the letters durable in the archive.
async fn begin(
    desk: &Desk,
    filter: &Filter,
    letters: &[Letter],
    archive: &Path,
    why: &str,
) -> Result<Audit, Error> {
    let has_client = |letter: &Letter| Submitted::by_letter(letter).is_some();
    if letters.iter().any(has_client) {
        desk.place.tables_to("tell the clients")?;
    }
    let about = json!({
        "who": desk.place.who().await,
        "queue": desk.place.dead_letter_queue_url,
        "filter": filter,
        "messageIds": ids_of(letters),
        "revealed": true,
        "archive": archive,
        "why": why,
    });
    let audit = Audit::begin(&desk.place.audit_log, "discard", &about)?;
    write(&audit, archive, letters)?;
    Ok(audit)
}

/// Tells the clients of letters that are in the archive, and deletes the letters.
async fn delete_all(
    desk: &Desk,
    holder: &Holder,
    audit: &Audit,
    selection: &Selection,
    archive: &Path,
) -> Result<Ending, Error> {
    let bar = progress("discarding", selection.letters.len() as u64);
    let (mut discarded, mut failed) = (0, Vec::new());
    for batch in selection.letters.chunks(BATCH_MAX) {
        if desk.interrupt.is_set() {
            break;
        }
        let results = tell_then_delete(desk, holder, batch).await;
        let gone = batch.iter().zip(&results).filter(|(_, result)| result.is_ok());
        let gone: Vec<&str> = gone.map(|(letter, _)| letter.message_id.as_str()).collect();
        audit.step(&json!({ "discarded": gone }))?;
        discarded += gone.len();
        let why_not = |(letter, result): (&Letter, Result<(), String>)| {
            Some(Failed { message_id: letter.message_id.clone(), why: result.err()? })
        };
        failed.extend(batch.iter().zip(results).filter_map(why_not));
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    let left = selection.letters.len() - discarded - failed.len();
    audit.end(&json!({ "discarded": discarded, "failed": failed, "left": left }))?;
    print(&format!("{discarded} letters discarded; they are in {}.\n", archive.display()));
    print_failed(&failed);
    if left > 0 {
        note(&format!("{left} are left: run the same command again"));
    }
    let is_done = failed.is_empty() && left == 0 && selection.is_all;
    Ok(Ending::of(is_done))
}

/// Does so with up to ten letters. For each of them, in their order, it returns whether it is deleted, or why
/// not.
async fn tell_then_delete(
    desk: &Desk,
    holder: &Holder,
    letters: &[Letter],
) -> Vec<Result<(), String>> {
    let tell = async |letter: &Letter| {
        if !holder.holds(&letter.message_id) {
            return Err(LOST.to_owned());
        }
        match (&desk.place.tables, Submitted::by_letter(letter)) {
            (Some(tables), Some(submitted)) => {
                let told = submitted.record_ended(tables, End::ByOperator).await;
                told.map_err(|failure| format!("not discarded, the client is not told: {failure}"))
            }
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    };
    let mut results = join_all(letters.iter().map(tell)).await;
    let told = letters.iter().zip(&results).filter(|(_, told)| told.is_ok());
    let told: Vec<&str> = told.map(|(letter, _)| letter.message_id.as_str()).collect();
    let mut deleted = holder.delete(&told).await.into_iter();
    for result in results.iter_mut().filter(|result| result.is_ok()) {
        *result = deleted.next().unwrap_or_else(|| Err(LOST.to_owned()));
    }
    results
}
