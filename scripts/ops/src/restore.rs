//! Sending letters of an archive again, whether they were exported or discarded: `restore`. Sending one
//! twice does no harm, because the table knows every request that it has stored.

use std::path::Path;

use serde_json::json;

use crate::audit::Audit;
use crate::filter::Filter;
use crate::queue::Error;
use crate::redrive::{How, carry_out, ids_of, plan};
use crate::send::Sender;
use crate::terminal::print;
use crate::{Desk, Ending, archive, now_ms};

/// Sends letters of an archive to the main queue, as a re-drive does. The archive stays as it is.
///
/// # Errors
/// The archive cannot be read, or the audit log cannot be written; then nothing was sent.
pub async fn restore(
    desk: &Desk,
    mut filter: Filter,
    path: &Path,
    how: How,
) -> Result<Ending, Error> {
    how.check(&mut filter)?;
    let tables = how.tables(desk)?;
    let letters = archive::read(path)?;
    filter.check_reasons(&letters)?;
    let (letters, others) = filter.divide(letters, now_ms());
    if !how.yes || letters.is_empty() {
        let others = format!("{} others of {} stay there", others.len(), path.display());
        print(&plan(&letters, &others, how.rate));
        return Ok(Ending::Done);
    }
    let about = json!({
        "who": desk.place.who().await,
        "from": path,
        "to": desk.place.queue_url,
        "filter": filter,
        "rate": how.rate,
        "messageIds": ids_of(&letters),
        "revealed": false,
    });
    let audit = Audit::begin(&desk.place.audit_log, "restore", &about)?;
    let sender = Sender { desk, audit: &audit, holder: None, rate: how.rate };
    Ok(Ending::after_changes(carry_out(&sender, letters, how, tables).await))
}
