//! The data directory: the files in it, and the lock that keeps it to one pipeline.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use gateway::tokens::KEY_FILE;
use ready::{LOCK_FILE, LOG_FILE, READY_FILE};

const QUEUES_FILE: &str = "queues.sqlite";
const TABLES_FILE: &str = "tables.sqlite";

/// A data directory that is this process's own until this is dropped.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes a directory, and makes it where there is none. `fresh` forgets what it holds. What a killed
    /// pipeline said of its addresses goes in any case.
    ///
    /// # Errors
    /// The directory cannot be used, or another pipeline uses it.
    pub fn open(path: &Path, fresh: bool) -> anyhow::Result<DataDir> {
        let attempt = || format!("cannot use --data-dir {}", path.display());
        std::fs::create_dir_all(path).with_context(attempt)?;
        let options = OpenOptions::new().write(true).create(true).truncate(false).to_owned();
        let mut lock = options.open(path.join(LOCK_FILE)).with_context(attempt)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("--data-dir {} is in use by another pipeline", path.display())
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(attempt),
        }
        // Only now: until here the file may have been another pipeline's. Its content tells whoever looks
        // for the functions' processes whose children they are.
        lock.set_len(0)
            .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()))
            .with_context(attempt)?;
        let directory = DataDir { path: path.to_owned(), _lock: lock };
        ready::remove(&directory.ready())?;
        if fresh {
            directory.empty().with_context(attempt)?;
        }
        Ok(directory)
    }

    /// Removes the pipeline's own files, and nobody else's.
    fn empty(&self) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let ours = [QUEUES_FILE, TABLES_FILE, LOG_FILE, KEY_FILE];
            // The names of the files that SQLite keeps beside a database begin with the database's name.
            if ours.iter().any(|file| name.starts_with(file)) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The directory, where the issuer of tokens keeps its key.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of the queues.
    pub fn queues(&self) -> PathBuf {
        self.path.join(QUEUES_FILE)
    }

    /// The file of the tables.
    pub fn tables(&self) -> PathBuf {
        self.path.join(TABLES_FILE)
    }

    /// What the functions log.
    pub fn log(&self) -> PathBuf {
        self.path.join(LOG_FILE)
    }

    /// Where everything is, for as long as the pipeline runs.
    pub fn ready(&self) -> PathBuf {
        self.path.join(READY_FILE)
    }
}
