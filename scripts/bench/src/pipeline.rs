//! The pipeline under load: one that runs already, or one of its own in a directory of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use gateway::tokens::{EXPIRES_IN, Issuer, SCOPES};
use ready::Ready;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::client::Client;

/// The role in which this program is the pipeline: its first argument. Any program that starts a
/// [`Pipeline`] must hand this role, and the role `function`, to [`local::main`].
pub const ROLE: &str = "pipeline";

/// How long a pipeline may take to start.
const START_MAX: Duration = Duration::from_secs(60);

/// A pipeline of our own. Dropping it kills it and removes what it kept.
#[derive(Debug)]
pub struct Pipeline {
    process: Child,
    directory: TempDir,
    flags: Vec<String>,
}

/// A client of the pipeline that wrote this ready file.
///
/// # Errors
/// There is no such file, or it says something else.
pub fn found(ready_file: &Path) -> anyhow::Result<Client> {
    let ready = Ready::read(ready_file);
    let ready = ready.with_context(|| format!("the ready file {}", ready_file.display()))?;
    Ok(Client::new(ready))
}

impl Pipeline {
    /// Starts a pipeline on free ports with these flags of `cargo local`, and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub async fn start(flags: &[String]) -> anyhow::Result<(Pipeline, Client)> {
        let directory = tempfile::tempdir()?;
        let process = spawn(directory.path(), flags)?;
        let mut pipeline = Pipeline { process, directory, flags: flags.to_vec() };
        let client = pipeline.ready().await?;
        Ok((pipeline, client))
    }

    /// Kills the whole pipeline at once (kill -9) and starts it again on what it kept.
    ///
    /// # Errors
    /// As [`Pipeline::start`].
    pub async fn kill_and_restart(&mut self) -> anyhow::Result<Client> {
        self.process.kill().await?;
        std::fs::remove_file(self.ready_file())?;
        self.process = spawn(self.directory.path(), &self.flags)?;
        self.ready().await
    }

    /// Kills one process of a function (kill -9): the one that `choose` picks out of so many.
    ///
    /// # Errors
    /// None appears in time.
    pub async fn kill_function(&self, choose: impl FnOnce(usize) -> usize) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        loop {
            ticks.tick().await;
            let processes = self.functions()?;
            if !processes.is_empty() {
                let process = processes[choose(processes.len())];
                // It may have ended just now.
                kill_process(process, Signal::KILL).ok();
                return Ok(());
            }
            ensure!(started.elapsed() < START_MAX, "no process of a function runs");
        }
    }

    /// An access token of a user.
    ///
    /// # Errors
    /// The key cannot be read.
    pub fn token(&self, user: &str) -> anyhow::Result<String> {
        let issuer = Issuer::open(&self.directory.path().join("data"))?;
        issuer.issue(user, SCOPES, EXPIRES_IN)
    }

    /// What the pipeline printed.
    #[must_use]
    pub fn printed(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("out.log")).unwrap_or_default()
    }

    fn functions(&self) -> anyhow::Result<Vec<Pid>> {
        let process = self.process.id().context("the pipeline has ended")?;
        let mut processes = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{process}/task"))?.flatten() {
            let children = std::fs::read_to_string(task.path().join("children"));
            let children = children.unwrap_or_default();
            let ids = children.split_whitespace().filter(|id| submits(id));
            let ids = ids.filter_map(|id| id.parse().ok());
            processes.extend(ids.filter_map(Pid::from_raw));
        }
        processes.sort_by_key(|process| process.as_raw_nonzero());
        Ok(processes)
    }

    fn ready_file(&self) -> PathBuf {
        self.directory.path().join("ready.json")
    }

    async fn ready(&mut self) -> anyhow::Result<Client> {
        let started = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            if self.ready_file().exists() {
                return found(&self.ready_file());
            }
            if self.process.try_wait()?.is_some() || started.elapsed() > START_MAX {
                let errors = std::fs::read_to_string(self.directory.path().join("err.log"));
                bail!("the pipeline did not start: {}", errors.unwrap_or_default());
            }
        }
    }
}

/// Whether a process is the function that stores payments; the others only read.
fn submits(process_id: &str) -> bool {
    let command = std::fs::read_to_string(format!("/proc/{process_id}/cmdline"));
    command.unwrap_or_default().contains(local::functions::SUBMIT)
}

fn spawn(directory: &Path, flags: &[String]) -> anyhow::Result<Child> {
    let log =
        |name: &str| std::fs::File::options().create(true).append(true).open(directory.join(name));
    Command::new(std::env::current_exe()?)
        .args([ROLE, "--api-port", "0", "--queue-port", "0", "--table-port", "0"])
        .arg("--data-dir")
        .arg(directory.join("data"))
        .arg("--ready-file")
        .arg(directory.join("ready.json"))
        .args(flags)
        .stdin(Stdio::null())
        .stdout(log("out.log")?)
        .stderr(log("err.log")?)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the pipeline")
}
