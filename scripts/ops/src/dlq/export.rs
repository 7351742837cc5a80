//! `export`: letters into an archive. They stay in the queue.

use std::path::Path;

use serde_json::json;

use crate::audit::Audit;
use crate::dlq::archive::write;
use crate::dlq::desk::Desk;
use crate::dlq::filter::Filter;
use crate::dlq::letter::ids_of;
use crate::error::{Ending, Error};
use crate::terminal::print;

/// Writes letters to an archive; they stay in the queue.
///
/// # Errors
/// The queue does not answer, or a file cannot be written.
pub async fn export(desk: &Desk, filter: &Filter, out: &Path) -> Result<Ending, Error> {
    let holder = desk.holder();
    let selection = desk.select(&holder, filter, true).await?;
    // Released before the file is written: nobody else should wait for a slow disk.
    holder.release_all().await;
    if desk.interrupt.is_set() {
        return Ok(Ending::Unfinished);
    }
    let about = json!({
        "who": desk.place.who().await,
        "queue": desk.place.dead_letter_queue_url,
        "filter": filter,
        "messageIds": ids_of(&selection.letters),
        "revealed": true,
        "archive": out,
    });
    let audit = Audit::begin(&desk.place.audit_log, "export", &about)?;
    let added = write(&audit, out, &selection.letters)?;
    audit.end(&json!({ "added": added }))?;
    let there = selection.letters.len() - added;
    print(&format!(
        "{added} letters written to {}, {there} were in it already. It holds what payments say: \
         keep it as carefully.\n",
        out.display()
    ));
    Ok(Ending::of(selection.is_all))
}
