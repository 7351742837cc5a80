//! Letters in a file, the archive: one JSON line for each letter, its body byte for byte.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::MessageAttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schema::timestamp::rfc3339;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::audit::Audit;
use crate::clock::{ms_of, now_ms};
use crate::dlq::letter::{Letter, md5_of};
use crate::error::Error;

/// A line of an archive. Archives are kept for long: properties may be added, and those that there are never
/// change.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    message_id: String,
    /// The body as it was received. A JSON string can hold every character that SQS allows.
    body: String,
    body_md5: String,
    /// The attributes by name, each as type and text, or as type and bytes in base64.
    attributes: Map<String, Value>,
    trace_header: Option<String>,
    #[serde(default)]
    group: Option<String>,
    sent_at: String,
    receives: u32,
    moved_by_queue: bool,
    reason: String,
    archived_at: String,
}

impl Line {
    fn of(letter: &Letter) -> Line {
        let attribute = |(name, value): (&String, &MessageAttributeValue)| {
            let value = match value.binary_value() {
                Some(bytes) => {
                    json!({ "type": value.data_type(), "base64": STANDARD.encode(bytes) })
                }
                None => json!({ "type": value.data_type(), "text": value.string_value() }),
            };
            (name.clone(), value)
        };
        Line {
            message_id: letter.message_id.clone(),
            body: letter.body.clone(),
            body_md5: letter.body_md5(),
            attributes: letter.attributes.iter().map(attribute).collect(),
            trace_header: letter.trace_header.clone(),
            group: letter.group.clone(),
            sent_at: rfc3339(letter.sent_at_ms),
            receives: letter.receives,
            moved_by_queue: letter.moved_by_queue,
            reason: letter.reason().to_owned(),
            archived_at: rfc3339(now_ms()),
        }
    }

    /// The letter as it was; `None` when the line has been altered.
    fn letter(self) -> Option<Letter> {
        let attribute = |(name, value): (String, Value)| {
            let part = |part: &str| value[part].as_str();
            let attribute = MessageAttributeValue::builder().data_type(part("type")?);
            let attribute = match (part("text"), part("base64")) {
                (Some(text), None) => attribute.string_value(text),
                (None, Some(bytes)) => {
                    attribute.binary_value(Blob::new(STANDARD.decode(bytes).ok()?))
                }
                (_, _) => return None,
            };
            Some((name, attribute.build().ok()?))
        };
        let sent_at = humantime::parse_rfc3339(&self.sent_at).ok()?;
        if md5_of(&self.body) != self.body_md5 {
            return None;
        }
        let attributes = self.attributes.into_iter().map(attribute).collect::<Option<_>>()?;
        let mut letter = Letter::new(self.message_id, self.body, attributes);
        letter.trace_header = self.trace_header;
        letter.group = self.group;
        letter.sent_at_ms = ms_of(sent_at);
        letter.receives = self.receives;
        letter.moved_by_queue = self.moved_by_queue;
        Some(letter)
    }
}

/// The letters of an archive, each once. The file stays as it is.
///
/// # Errors
/// The file cannot be read, or one of its lines has been altered. Then none of its letters is returned, so
/// that somebody looks at the file before anything of it is sent. A last line that was cut off is left out.
pub fn read(path: &Path) -> Result<Vec<Letter>, Error> {
    let failed = |error| Error::file("read the archive", path, error);
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let (mut letters, mut ids, mut bytes) = (Vec::new(), HashSet::new(), Vec::new());
    for number in 1.. {
        bytes.clear();
        reader.read_until(b'\n', &mut bytes).map_err(failed)?;
        if bytes.last() != Some(&b'\n') {
            break;
        }
        let line = serde_json::from_slice(&bytes).ok().and_then(Line::letter);
        let letter = line.ok_or_else(|| {
            let shown = path.display();
            Error::Configuration(format!(
                "line {number} of {shown} is no dead letter, or was altered"
            ))
        })?;
        if ids.insert(letter.message_id.clone()) {
            letters.push(letter);
        }
    }
    Ok(letters)
}

/// A file of letters, each in it once. Only its owner may read it: it holds what payments say.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    file: File,
    ids: HashSet<String>,
}

impl Archive {
    /// Opens an archive, or begins a new one. If a killed process has left half a line at its end, that half
    /// is removed.
    ///
    /// # Errors
    /// The file cannot be written, another process writes it, or it is not an archive.
    pub fn open(path: &Path) -> Result<Archive, Error> {
        let failed = |error| Error::file("write the archive", path, error);
        let mut options = OpenOptions::new();
        let file = options.create(true).read(true).append(true).mode(0o600).open(path);
        let file = file.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("{} is being written by another process", path.display());
                return Err(Error::Configuration(text));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut archive = Archive { path: path.to_owned(), file, ids: HashSet::new() };
        let (ids, whole_bytes) = archive.read()?;
        archive.ids = ids.into_keys().collect();
        archive.file.set_len(whole_bytes).map_err(failed)?;
        Ok(archive)
    }

    /// Adds the letters that are not in it yet, and returns how many those were. After that, every one of
    /// the letters is durable in the file: this has read the file again to be sure.
    ///
    /// # Errors
    /// The file cannot be written, or does not contain what was written.
    pub fn add(&mut self, letters: &[Letter]) -> Result<usize, Error> {
        let path = self.path.clone();
        let failed = |error| Error::file("write the archive", &path, error);
        let mut added = 0;
        let mut writer = BufWriter::new(&self.file);
        for letter in letters {
            if !self.ids.insert(letter.message_id.clone()) {
                continue;
            }
            let line = serde_json::to_string(&Line::of(letter)).map_err(std::io::Error::from);
            line.and_then(|line| writeln!(writer, "{line}")).map_err(failed)?;
            added += 1;
        }
        writer.flush().map_err(failed)?;
        drop(writer);
        self.file.sync_all().map_err(failed)?;
        // Without this, a power cut might lose the name of a new file.
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = File::open(directory.unwrap_or(Path::new(".")));
        directory.and_then(|directory| directory.sync_all()).map_err(failed)?;
        let (written, _) = self.read()?;
        let is_written =
            |letter: &Letter| written.get(&letter.message_id) == Some(&letter.body_md5());
        match letters.iter().all(is_written) {
            true => Ok(added),
            false => Err(failed(std::io::Error::other("it does not contain what was written"))),
        }
    }

    /// The MD5 of each letter's body by the letter's message id, and how many bytes the whole lines take.
    fn read(&mut self) -> Result<(HashMap<String, String>, u64), Error> {
        let path = self.path.clone();
        let failed = |error| Error::file("read the archive", &path, error);
        self.file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut reader = BufReader::new(&self.file);
        let (mut letters, mut whole_bytes, mut bytes) = (HashMap::new(), 0, Vec::new());
        loop {
            bytes.clear();
            let read = reader.read_until(b'\n', &mut bytes).map_err(failed)?;
            if bytes.last() != Some(&b'\n') {
                return Ok((letters, whole_bytes));
            }
            let line: Line = serde_json::from_slice(&bytes).map_err(|_| {
                let shown = path.display();
                Error::Configuration(format!("{shown} is no archive of dead letters"))
            })?;
            letters.insert(line.message_id, md5_of(&line.body));
            whole_bytes += read as u64;
        }
    }
}

/// Makes letters durable in an archive. An error is also written into the audit log.
pub(crate) fn write(audit: &Audit, archive: &Path, letters: &[Letter]) -> Result<usize, Error> {
    let added = Archive::open(archive).and_then(|mut archive| archive.add(letters));
    if let Err(error) = &added {
        audit.end(&json!({ "error": error.to_string() }))?;
    }
    added
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::letter::tests::{NOTE, letter};

    fn lines(path: &Path) -> Vec<Line> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn an_archive_holds_each_letter_once_byte_for_byte_and_goes_on_after_a_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("archive.ndjson");
        let body = "{\"description\":\"O'Brien \\u0041 \u{1f600}\r\n\"}";
        let first = letter("a", body, &[("deadLetter", NOTE)], false);
        let second = letter("b", "no json", &[], true);
        assert_eq!(Archive::open(&path).unwrap().add(std::slice::from_ref(&first)).unwrap(), 1);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"messageId\":\"b\",\"bo").unwrap();
        let both = [first, second];
        assert_eq!(Archive::open(&path).unwrap().add(&both).unwrap(), 1);
        assert_eq!(Archive::open(&path).unwrap().add(&both).unwrap(), 0);
        let lines = lines(&path);
        let ids: Vec<&str> = lines.iter().map(|line| line.message_id.as_str()).collect();
        assert_eq!(ids, ["a", "b"]);
        assert_eq!(lines[0].body, body);
        assert_eq!(lines[0].attributes["deadLetter"], json!({ "type": "String", "text": NOTE }));
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn letters_come_back_as_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("archive.ndjson");
        let body = "{\"description\":\"O'Brien \\u0041 \u{1f600}\r\n\"}";
        let mut letter = letter("a", body, &[("deadLetter", NOTE), ("sub", "u")], true);
        (letter.trace_header, letter.group) = (Some("Root=1".to_owned()), Some("u".to_owned()));
        let bytes = MessageAttributeValue::builder().data_type("Binary.x");
        let bytes = bytes.binary_value(Blob::new([0, 255])).build().unwrap();
        letter.attributes.insert("bytes".to_owned(), bytes);
        Archive::open(&path).unwrap().add(std::slice::from_ref(&letter)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        // As two archives put together, and a line that was cut off.
        std::fs::write(&path, format!("{text}{text}{{\"mess")).unwrap();
        let read = read(&path).unwrap();
        assert_eq!(read.len(), 1);
        let back = &read[0];
        assert_eq!((&back.body, &back.attributes), (&letter.body, &letter.attributes));
        assert_eq!((&back.trace_header, &back.group), (&letter.trace_header, &letter.group));
        assert_eq!((back.sent_at_ms, back.receives), (letter.sent_at_ms, letter.receives));
        assert_eq!(back.redriven(), letter.redriven());
        std::fs::write(&path, text.replace("O'Brien", "O'Bryen")).unwrap();
        assert!(matches!(super::read(&path), Err(Error::Configuration(_))), "an altered body");
    }

    #[test]
    fn a_file_that_is_no_archive_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("thesis.txt");
        std::fs::write(&path, "Chapter 1\n").unwrap();
        assert!(matches!(Archive::open(&path), Err(Error::Configuration(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "Chapter 1\n");
    }

    #[test]
    fn an_archive_has_one_writer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("archive.ndjson");
        let _open = Archive::open(&path).unwrap();
        assert!(matches!(Archive::open(&path), Err(Error::Configuration(_))));
    }
}
