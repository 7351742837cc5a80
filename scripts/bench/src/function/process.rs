//! A process of a function on a processor core of its own, and what it takes.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};

/// The core of whoever measures.
pub(crate) const STUB_CORE: usize = 0;
/// The core of the function.
pub(crate) const FUNCTION_CORE: usize = 1;

/// Lets the calling thread, and what it starts, run on one core only.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// A running process. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    /// When it was started.
    pub(crate) started: Instant,
}

impl Process {
    /// Starts a program on the function's core, with this environment and nothing else, and reads away
    /// what it prints, as Lambda does.
    pub(crate) fn start(
        command: &[OsString],
        environment: &[(String, String)],
        share: Option<&Share>,
    ) -> anyhow::Result<Process> {
        let (program, arguments) = command.split_first().context("a function needs a program")?;
        let mut command = match share {
            None => Command::new(program),
            Some(share) => share.command(program),
        };
        command
            .args(arguments)
            .env_clear()
            .envs(environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // A child inherits the core of the thread that starts it.
        let spawn = std::thread::spawn(move || pin(FUNCTION_CORE).and_then(|()| command.spawn()));
        let child = spawn.join().expect("spawning does not panic");
        let child = child.with_context(|| format!("start {}", program.display()))?;
        let mut process = Process { child, started: Instant::now() };
        let mut output = process.child.stdout.take().context("the output is piped")?;
        std::thread::spawn(move || io::copy(&mut output, &mut io::sink()));
        if let Some(share) = share {
            process.started = share.go(&mut process.child)?;
        }
        Ok(process)
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }

    /// Processor time that its living threads have taken.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let tasks = format!("/proc/{}/task", self.child.id());
        let mut nanoseconds = 0;
        for task in fs::read_dir(&tasks).with_context(|| tasks.clone())? {
            // A thread may end between the two looks.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let on_cpu: u64 = text.split(' ').next().unwrap_or_default().parse()?;
            nanoseconds += on_cpu;
        }
        ensure!(nanoseconds > 0, "{tasks} says nothing of processor time: is this Linux?");
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// The most memory that it has had resident, in KiB.
    pub(crate) fn peak_memory_kib(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|line| line.split_whitespace().next());
        peak.and_then(|kib| kib.parse().ok()).context("the process has ended")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A share of a core, as Lambda gives one to less than 1,769 MB of memory: so much time of each period.
pub(crate) struct Share {
    group: PathBuf,
}

/// Lambda's period.
const PERIOD_US: u64 = 20_000;
/// Memory that buys one core (AWS Lambda Developer Guide, "Configure Lambda function memory").
const ONE_CORE_MB: u64 = 1_769;
/// How long a shell may take to join a group.
const JOIN_MAX: Duration = Duration::from_secs(10);

impl Share {
    /// The share of so many MB; needs control groups and the right to make one.
    pub(crate) fn of(memory_mb: u64) -> anyhow::Result<Share> {
        let quota_us = PERIOD_US * memory_mb / ONE_CORE_MB;
        let root = Path::new("/sys/fs/cgroup");
        let second = root.join("cgroup.controllers").exists();
        let group = if second { root.to_owned() } else { root.join("cpu") };
        let share = Share { group: group.join(format!("remit-bench-{}", std::process::id())) };
        fs::create_dir(&share.group)?;
        let set = |name: &str, value: String| fs::write(share.group.join(name), value);
        if second {
            set("cpu.max", format!("{quota_us} {PERIOD_US}"))?;
        } else {
            set("cpu.cfs_period_us", PERIOD_US.to_string())?;
            set("cpu.cfs_quota_us", quota_us.to_string())?;
        }
        Ok(share)
    }

    /// A shell that joins the group, and becomes the program when it is told to.
    fn command(&self, program: &OsString) -> Command {
        let mut command = Command::new("/bin/sh");
        let script = r#"echo $$ > "$0" && read -r go && exec "$@""#;
        command.args(["-c", script]).arg(self.members()).arg(program);
        command
    }

    /// Lets the shell go on once it is in the group; the time at which it did.
    fn go(&self, shell: &mut Child) -> anyhow::Result<Instant> {
        let asked = Instant::now();
        while fs::read(self.members())?.is_empty() {
            ensure!(asked.elapsed() < JOIN_MAX, "the shell does not join {}", self.group.display());
            std::thread::yield_now();
        }
        let mut input = shell.stdin.take().context("the input is piped")?;
        let started = Instant::now();
        input.write_all(b"go\n")?;
        Ok(started)
    }

    fn members(&self) -> PathBuf {
        self.group.join("cgroup.procs")
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.group);
    }
}
