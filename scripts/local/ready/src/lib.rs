//! What a running pipeline tells other programs of this machine: the ready file, and the names of the files
//! in its data directory that others read.
//!
//! A crate of its own, so that the operator's tool can read the file without compiling the pipeline. It
//! knows no part of the pipeline, and opens no connection.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The ready file of the data directory. It is there while the pipeline runs, and after the pipeline was
/// killed.
pub const READY_FILE: &str = "ready.json";

/// The pipeline holds a lock on this file of the data directory for as long as it runs. The file's content
/// is the id of its process.
pub const LOCK_FILE: &str = "lock";

/// What the functions log, in the data directory.
pub const LOG_FILE: &str = "functions.log";

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// Base address of the API.
    pub api: String,
    /// Base address of the queues.
    pub queue: String,
    /// Base address of the tables.
    pub table: String,
    /// URL of the main queue.
    pub queue_url: String,
    /// URL of the dead-letter queue.
    pub dead_letter_queue_url: String,
    /// Name of the table of payments.
    pub payments_table: String,
    /// Name of the table of refused and held payments.
    pub refusals_table: String,
    /// The demo user.
    pub user_id: String,
    /// An access token of the demo user.
    pub token: String,
}

impl Ready {
    /// Reads a ready file.
    ///
    /// # Errors
    /// There is no such file, or it holds something else.
    pub fn read(path: &Path) -> Result<Ready> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    /// The ready file of the pipeline that runs on this data directory, if one does. A pipeline that was
    /// killed leaves its file behind, but not its lock.
    #[must_use]
    pub fn of_running(data_dir: &Path) -> Option<Ready> {
        let lock = File::open(data_dir.join(LOCK_FILE)).ok()?;
        if lock.try_lock_shared().is_ok() {
            return None;
        }
        Ready::read(&data_dir.join(READY_FILE)).ok()
    }

    /// Writes the file whole or not at all: whoever waits for it may read it as soon as it is there.
    ///
    /// # Errors
    /// The file cannot be written; the error names it.
    pub fn write(&self, path: &Path) -> Result<()> {
        let unfinished = path.with_extension("unfinished");
        std::fs::write(&unfinished, serde_json::to_vec_pretty(self)?)
            .and_then(|()| std::fs::rename(&unfinished, path))
            .map_err(|error| named("cannot write", path, &error))
    }
}

/// Removes a ready file, where there is one.
///
/// # Errors
/// The file is there and cannot be removed; the error names it.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(named("cannot remove", path, &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn named(attempt: &str, path: &Path, error: &Error) -> Error {
    Error::new(error.kind(), format!("{attempt} the ready file {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Ready {
        Ready {
            api: "http://127.0.0.1:1".to_owned(),
            queue: "http://127.0.0.1:2".to_owned(),
            table: "http://127.0.0.1:3".to_owned(),
            queue_url: "http://127.0.0.1:2/000000000000/q".to_owned(),
            dead_letter_queue_url: "http://127.0.0.1:2/000000000000/d".to_owned(),
            payments_table: "p".to_owned(),
            refusals_table: "r".to_owned(),
            user_id: "u".to_owned(),
            token: "t".to_owned(),
        }
    }

    #[test]
    fn a_killed_pipeline_leaves_a_file_that_is_not_believed() {
        let directory = tempfile::tempdir().expect("a directory");
        let written = ready();
        assert_eq!(Ready::of_running(directory.path()), None);
        written.write(&directory.path().join(READY_FILE)).expect("writable");

        let lock = File::create(directory.path().join(LOCK_FILE)).expect("writable");
        lock.lock().expect("nobody else has it");
        assert_eq!(Ready::of_running(directory.path()), Some(written));
        drop(lock);
        assert_eq!(Ready::of_running(directory.path()), None);
    }

    #[test]
    fn an_error_names_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("missing/ready.json");
        let error = ready().write(&path).expect_err("no such folder").to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert!(remove(&path).is_ok(), "what is not there need not be removed");
    }
}
