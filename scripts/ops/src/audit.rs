//! The audit log, in which stands what operators did: one JSON line before an action, one for each step of
//! it, one after it. Lines are only ever appended. They hold ids and counts, never what a payment says and
//! never a user.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use schema::timestamp::rfc3339;
use serde_json::{Value, json};

use crate::clock::now_ms;
use crate::error::Error;

/// The lines of one action in the audit log.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    file: Mutex<File>,
    run: String,
    action: &'static str,
}

impl Audit {
    /// Writes, durably, what is about to be done: `about` says who does it, to which queue, with which
    /// filter, to which messages.
    ///
    /// # Errors
    /// The line cannot be written. Then the action must not be begun.
    pub fn begin(path: &Path, action: &'static str, about: &Value) -> Result<Audit, Error> {
        let failed = |error| Error::file("write the audit log", path, error);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path);
        let mut file = file.map_err(failed)?;
        finish_line(&mut file).map_err(failed)?;
        let file = Mutex::new(file);
        let run = uuid::Uuid::new_v4().to_string();
        let audit = Audit { path: path.to_owned(), file, run, action };
        audit.line("intent", about, true)?;
        Ok(audit)
    }

    /// Writes what a step did. This line survives a kill of the process but perhaps no power cut; the line
    /// that was written before the action survives both.
    ///
    /// # Errors
    /// The line cannot be written.
    pub fn step(&self, about: &Value) -> Result<(), Error> {
        self.line("step", about, false)
    }

    /// Writes, durably, what came of the action.
    ///
    /// # Errors
    /// The line cannot be written.
    pub fn end(&self, about: &Value) -> Result<(), Error> {
        self.line("result", about, true)
    }

    fn line(&self, phase: &str, about: &Value, durable: bool) -> Result<(), Error> {
        let mut line = json!({
            "at": rfc3339(now_ms()),
            "run": self.run,
            "action": self.action,
            "phase": phase,
        });
        if let (Some(line), Some(about)) = (line.as_object_mut(), about.as_object()) {
            line.extend(about.clone());
        }
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // One write for the whole line: another process may append to the same file.
        file.write_all(format!("{line}\n").as_bytes())
            .and_then(|()| if durable { file.sync_data() } else { Ok(()) })
            .map_err(|error| Error::file("write the audit log", &self.path, error))
    }
}

/// Ends the last line of the file if a killed process wrote only a part of it, so that the next line can
/// be read.
fn finish_line(file: &mut File) -> io::Result<()> {
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_a_killed_run_left_unfinished_spoils_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.ndjson");
        std::fs::write(&path, "{}\n{\"messageIds\":[\"a").unwrap();
        for _ in 0..2 {
            Audit::begin(&path, "redrive", &json!({ "count": 1 })).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().map(serde_json::from_str::<Value>).collect();
        let readable: Vec<bool> = lines.iter().map(Result::is_ok).collect();
        assert_eq!(readable, [true, false, true, true], "{text}");
    }
}
