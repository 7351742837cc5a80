//! `restore`: sending letters of an archive to the main queue again, whether they were exported or discarded.
//! Sending a letter twice does no harm: the function finds its request stored already.

use std::path::Path;

use serde_json::json;

use crate::audit::Audit;
use crate::clock::now_ms;
use crate::dlq::archive::read;
use crate::dlq::desk::Desk;
use crate::dlq::filter::Filter;
use crate::dlq::letter::ids_of;
use crate::dlq::redrive::{How, carry_out, plan};
use crate::dlq::send::Sender;
use crate::error::{Ending, Error};
use crate::terminal::print;

/// Sends letters of an archive to the main queue, as a re-drive does. The archive stays as it is.
///
/// # Errors
/// The archive cannot be read, or the audit log cannot be written. Then nothing was sent.
pub async fn restore(
    desk: &Desk,
    mut filter: Filter,
    path: &Path,
    how: How,
) -> Result<Ending, Error> {
    how.check(&mut filter)?;
    let tables = how.tables(desk)?;
    let letters = read(path)?;
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
