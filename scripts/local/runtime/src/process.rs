//! One child process: the program started again in the role of a function.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use futures::future::join_all;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;

use crate::invoke_error::{ErrorReport, InvokeError};
use crate::runtime_api::RuntimeApi;

/// The time a process has until it asks for its first invocation, as in Lambda.
const INIT_MAX: Duration = Duration::from_secs(10);
/// The time the last lines of a dead process have to arrive.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// The longest line that is forwarded whole, in bytes; CloudWatch's limit for an event.
const LINE_BYTES_MAX: u64 = 256 * 1024;
/// How many lines of standard error a failed start shows.
const LAST_LINES_MAX: usize = 20;
/// What a child keeps of its parent's environment.
const VARIABLES_KEPT: [&str; 2] = ["PATH", "RUST_BACKTRACE"];

/// A function and how to run it.
#[derive(Clone)]
pub struct FunctionSettings {
    /// The function's name, for `AWS_LAMBDA_FUNCTION_NAME` and the logs.
    pub name: String,
    /// The program to start, normally `std::env::current_exe()`.
    pub executable: PathBuf,
    /// The role, the way the program's own main understands it.
    pub arguments: Vec<String>,
    /// The function's own environment variables.
    pub variables: BTreeMap<String, String>,
    /// What the function is told about its memory, in MB; nothing enforces it.
    pub memory_mb: u32,
    /// The time one invocation has.
    pub timeout: Duration,
    /// How many processes run, each with one invocation at a time. At least one runs.
    pub environments: usize,
    /// Takes every line the processes write.
    pub sink: LineSink,
    /// Asked at each invocation: when to kill the process in the middle of it, if at all.
    pub crash_after: Option<CrashAfter>,
}

/// Says when to kill the process that is given an invocation now, if at all.
pub type CrashAfter = Arc<dyn Fn() -> Option<Duration> + Send + Sync>;

/// Takes whole lines, one call a line, from several tasks: write each with one call.
pub type LineSink = Arc<dyn Fn(Line) + Send + Sync>;

/// One line of a process, without its line feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The function that wrote it.
    pub function: String,
    /// The process that wrote it.
    pub process_id: u32,
    /// Where it was written.
    pub stream: LineStream,
    /// The text; bytes that are no UTF-8 are replaced.
    pub text: String,
}

/// Where a line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineStream {
    /// Standard output: the function's JSON log.
    Output,
    /// Standard error: panics.
    Error,
}

/// Why a function cannot start. Ends with the last lines of its standard error.
#[derive(Debug, thiserror::Error)]
#[error("cannot start function {function}: {cause}{}", indented(last_lines))]
pub struct StartError {
    /// The function's name.
    pub function: String,
    /// What happened.
    pub cause: StartFailure,
    /// The last lines of standard error.
    pub last_lines: Vec<String>,
}

/// What happened to a process that did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartFailure {
    /// There was no port for its Runtime API.
    #[error("no port to listen on ({0})")]
    Listen(std::io::Error),
    /// The program could not be started.
    #[error("the program does not start ({0})")]
    Spawn(std::io::Error),
    /// It ended before it asked for work.
    #[error("the process ended with {0} before it asked for work")]
    Exited(String),
    /// It reported that it cannot start.
    #[error("it reported {0}")]
    Reported(ErrorReport),
    /// It did not ask for work in time.
    #[error("it did not ask for work within {} s", INIT_MAX.as_secs())]
    TimedOut,
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n    {line}")).collect()
}

/// Ends this process as soon as its parent is gone, however the parent ended. A role calls it
/// first thing in its main.
///
/// The parent holds the other end of this process's standard input and never writes: end of file
/// means that the parent is gone, be it by kill -9. The kernel's own parent-death signal is tied
/// to the thread that started the child, not to the process, and is lost when the parent dies
/// before the child asks for it.
pub fn exit_when_parent_is_gone() {
    std::thread::spawn(|| {
        // Whatever ends the copy, an end of file or an error, ends the connection to the parent.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        std::process::exit(1);
    });
}

/// A live process and its Runtime API. Dropping it kills the process.
pub(crate) struct Environment {
    api: RuntimeApi,
    child: Child,
    process_id: u32,
    crash_after: Option<CrashAfter>,
    /// See [`exit_when_parent_is_gone`].
    _lifeline: Option<ChildStdin>,
    forwarders: Vec<JoinHandle<()>>,
    last_lines: LastLines,
}

impl Environment {
    /// Starts a process and waits until it asks for its first invocation.
    pub(crate) async fn start(settings: &FunctionSettings) -> Result<Self, StartError> {
        let failure =
            |cause, last_lines| StartError { function: settings.name.clone(), cause, last_lines };
        let arn = format!("arn:aws:lambda:us-east-1:000000000000:function:{}", settings.name);
        let api = RuntimeApi::start(arn)
            .await
            .map_err(|error| failure(StartFailure::Listen(error), Vec::new()))?;
        let child = command(settings, &api)
            .spawn()
            .map_err(|error| failure(StartFailure::Spawn(error), Vec::new()))?;
        let mut environment = Self::watch(settings, api, child);
        match environment.initialise().await {
            Ok(()) => Ok(environment),
            Err(cause) => Err(failure(cause, environment.end().await)),
        }
    }

    fn watch(settings: &FunctionSettings, api: RuntimeApi, mut child: Child) -> Self {
        let process_id = child.id().unwrap_or_default();
        let last_lines = LastLines::default();
        let line =
            |stream, text| Line { function: settings.name.clone(), process_id, stream, text };
        let mut forwarders = Vec::new();
        if let Some(output) = child.stdout.take() {
            let (sink, line) =
                (Arc::clone(&settings.sink), line(LineStream::Output, String::new()));
            forwarders.push(tokio::spawn(forward(output, move |text| {
                sink(Line { text, ..line.clone() });
            })));
        }
        if let Some(error) = child.stderr.take() {
            let (sink, line) = (Arc::clone(&settings.sink), line(LineStream::Error, String::new()));
            let last_lines = last_lines.clone();
            forwarders.push(tokio::spawn(forward(error, move |text| {
                last_lines.push(text.clone());
                sink(Line { text, ..line.clone() });
            })));
        }
        // `Child::wait` would close an input it still owns, and with it end the process.
        let lifeline = child.stdin.take();
        let crash_after = settings.crash_after.clone();
        Self { api, child, process_id, crash_after, _lifeline: lifeline, forwarders, last_lines }
    }

    async fn initialise(&mut self) -> Result<(), StartFailure> {
        tokio::select! {
            biased;
            initialised = self.api.initialised() => initialised.map_err(StartFailure::Reported),
            status = self.child.wait() => Err(StartFailure::Exited(match status {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            })),
            () = tokio::time::sleep(INIT_MAX) => Err(StartFailure::TimedOut),
        }
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process_id
    }

    /// Resolves when the process has ended.
    pub(crate) async fn exited(&mut self) {
        if let Err(error) = self.child.wait().await {
            tracing::error!(process_id = self.process_id, %error, "cannot watch the process");
        }
    }

    /// Runs one invocation. A process that did not answer in time is dead when this returns, so
    /// that it cannot go on with work its caller believes undone.
    pub(crate) async fn invoke(
        &mut self,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, InvokeError> {
        let crash_after = self.crash_after.as_ref().and_then(|after| after());
        let crash = async {
            match crash_after {
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = self.api.invoke(payload, timeout) => outcome,
            _ = self.child.wait() => Err(InvokeError::Exited),
            () = crash => Err(InvokeError::Exited),
        };
        if let Err(InvokeError::TimedOut { .. } | InvokeError::Exited) = outcome {
            self.kill().await;
        }
        outcome
    }

    /// Kills the process, forwards what it wrote, and gives its last lines of standard error.
    pub(crate) async fn end(mut self) -> Vec<String> {
        self.kill().await;
        let forwarded = join_all(&mut self.forwarders);
        // A grandchild may hold the pipes open for as long as it likes.
        if tokio::time::timeout(DRAIN_MAX, forwarded).await.is_err() {
            self.forwarders.iter().for_each(JoinHandle::abort);
        }
        self.last_lines.take()
    }

    async fn kill(&mut self) {
        // Without an id it has been waited for already.
        if self.child.id().is_none() {
            return;
        }
        if let Err(error) = self.child.kill().await {
            tracing::error!(process_id = self.process_id, %error, "cannot kill the process");
        }
    }
}

fn command(settings: &FunctionSettings, api: &RuntimeApi) -> Command {
    let kept = VARIABLES_KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut command = Command::new(&settings.executable);
    command
        .args(&settings.arguments)
        .env_clear()
        .envs(kept)
        .env("AWS_REGION", "us-east-1")
        // The SDKs sign with these; nobody checks the signature.
        .env("AWS_ACCESS_KEY_ID", "local")
        .env("AWS_SECRET_ACCESS_KEY", "local")
        .envs(&settings.variables)
        .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
        .env("AWS_LAMBDA_FUNCTION_NAME", &settings.name)
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", settings.memory_mb.to_string())
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Control-C at the terminal goes to the whole foreground group: it is the parent that
        // decides when an invocation under way is given up.
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Gives every line of `stream` to `sink`, in order, until the stream ends.
async fn forward(stream: impl AsyncRead + Unpin, sink: impl Fn(String)) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await {
            Ok(0) => return,
            Ok(_) => sink(String::from_utf8_lossy(line.trim_ascii_end()).into_owned()),
            Err(error) => {
                tracing::error!(%error, "cannot read the lines of a process");
                return;
            }
        }
    }
}

/// The newest lines, shared between the task that reads them and the one that reports them.
#[derive(Debug, Default, Clone)]
struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl LastLines {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LAST_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn take(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_forwarded_whole_and_in_order() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&lines);
        let written: &[u8] = b"{\"a\":1}\r\n\n\xffx\nlast, without an end";
        forward(written, move |line| taken.lock().unwrap().push(line)).await;
        assert_eq!(*lines.lock().unwrap(), ["{\"a\":1}", "", "\u{fffd}x", "last, without an end"]);
    }

    #[test]
    fn failed_start_shows_only_the_last_lines() {
        let lines = LastLines::default();
        (0..LAST_LINES_MAX + 5).for_each(|n| lines.push(n.to_string()));
        let error = StartError {
            function: "f".to_owned(),
            cause: StartFailure::TimedOut,
            last_lines: lines.take(),
        };
        let text = error.to_string();
        assert!(text.starts_with("cannot start function f: it did not ask for work within 10 s\n"));
        assert_eq!(text.lines().nth(1), Some("    5"));
        assert_eq!(text.lines().count(), 1 + LAST_LINES_MAX);
    }
}
