//! The function itself, as packaged, beside what a team would otherwise run: each is started as Lambda
//! starts it, between a Runtime API and a table behind TLS, on a core of its own.

mod event;
pub mod instructions;
mod process;
mod report;
mod stub;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use indicatif::ProgressBar;
use tempfile::NamedTempFile;

use self::event::{event, records_max};
use self::process::{Process, STUB_CORE, Share, pin};
pub use self::report::Report;
use self::report::{ColdStart, Row, Spread};
use self::stub::{Stub, Tls};

/// Times that the table takes for a put, in milliseconds.
const LATENCIES_MS: [u64; 2] = [0, 5];
/// Records of a batch; beside these the largest event is measured.
const BATCHES: [usize; 3] = [10, 100, 1_000];
/// Records of the first batch after a cold start.
const FIRST_BATCH: usize = 10;
/// Memory whose share of a core is measured too, in MB: Lambda's least.
const LEAST_MEMORY_MB: u64 = 128;
/// How long a process is warmed up, at least one batch.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long batches are measured in one process, at least one batch.
const MEASURED: Duration = Duration::from_secs(2);
/// Records in progress at once: `submit_payments_record_concurrency` in `infra/variables.tf`.
const CONCURRENCY: usize = 128;
/// Cold starts of each function in a round.
const COLD_STARTS: usize = 5;

/// Where the certificates of a system stand: those that the function reads when it starts.
const SYSTEM_CERTIFICATES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// What to compare.
#[derive(Debug, Clone, Args)]
pub struct Comparison {
    /// The function's program, out of its package.
    #[arg(long, value_name = "PATH")]
    pub function: PathBuf,
    /// The package.
    #[arg(long, value_name = "PATH")]
    pub zip: PathBuf,
    /// Folder of the peers' bundles.
    #[arg(long, value_name = "PATH")]
    pub peers: PathBuf,
    /// How often everything is measured, each time in new processes.
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub rounds: usize,
    /// Records of a batch; several times for several [default: 10, 100, 1000 and the largest event].
    #[arg(long, value_name = "COUNT")]
    pub batch: Vec<usize>,
    /// Records of the function in progress at once.
    #[arg(long, value_name = "COUNT", default_value_t = CONCURRENCY)]
    pub concurrency: usize,
    /// Leave out the peers.
    #[arg(long)]
    pub alone: bool,
}

/// One function.
struct Subject {
    name: &'static str,
    command: Vec<OsString>,
}

/// What one process showed.
struct Sample {
    batch_us: u64,
    cpu_ns_per_message: u64,
    peak_memory_kib: u64,
}

/// Measures everything.
///
/// # Errors
/// A function that does not start, does not answer in time, or does not put every record once.
pub fn compare(comparison: &Comparison, bar: &ProgressBar) -> anyhow::Result<Report> {
    pin(STUB_CORE).context("pin to a core")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(compared(comparison, bar))
}

async fn compared(comparison: &Comparison, bar: &ProgressBar) -> anyhow::Result<Report> {
    let node = |name: &str| vec!["node".into(), comparison.peers.join(name).into()];
    let mut subjects = vec![
        Subject { name: "submit-payments", command: vec![comparison.function.clone().into()] },
        Subject { name: "loop", command: node("loop.cjs") },
        Subject { name: "settled", command: node("settled.cjs") },
    ];
    if comparison.alone {
        subjects.truncate(1);
    }
    let bench = Bench::new(comparison.concurrency)?;
    let shares = [None, Some(Share::of(LEAST_MEMORY_MB))];
    let batches = match comparison.batch.as_slice() {
        [] => BATCHES.into_iter().chain([records_max()]).collect(),
        batches => batches.to_vec(),
    };
    let cells = LATENCIES_MS.len() * batches.len() + shares.len();
    bar.set_length(u64::try_from(cells * comparison.rounds).unwrap_or(u64::MAX));

    let mut cold_starts = Vec::new();
    for share in &shares {
        let share = match share {
            None => None,
            Some(Ok(share)) => Some(share),
            Some(Err(error)) => {
                eprintln!("no share of a core is measured: {error:#}");
                continue;
            }
        };
        bar.set_message("cold starts");
        cold_starts.extend(bench.cold_starts(&subjects, share, comparison.rounds, bar).await?);
    }
    let mut rows = Vec::new();
    for latency_ms in LATENCIES_MS {
        for &records in &batches {
            bar.set_message(format!("{records} records, {latency_ms} ms"));
            let mut samples: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
            for _ in 0..comparison.rounds {
                for subject in &subjects {
                    let sample = bench.sample(subject, latency_ms, records).await?;
                    samples.entry(subject.name).or_default().push(sample);
                }
                bar.inc(1);
            }
            let of = |subject: &Subject| row(subject.name, latency_ms, records, &samples);
            rows.extend(subjects.iter().map(of));
        }
    }
    let zip = std::fs::metadata(&comparison.zip);
    let zip = zip.with_context(|| comparison.zip.display().to_string())?;
    Ok(Report { rounds: comparison.rounds, rows, cold_starts, zip_bytes: zip.len() })
}

fn row(
    function: &'static str,
    latency_ms: u64,
    records: usize,
    samples: &BTreeMap<&str, Vec<Sample>>,
) -> Row {
    let of = |value: fn(&Sample) -> u64| Spread::of(samples[function].iter().map(value));
    Row {
        function,
        latency_ms,
        records,
        batch_us: of(|sample| sample.batch_us),
        cpu_ns_per_message: of(|sample| sample.cpu_ns_per_message),
        peak_memory_kib: of(|sample| sample.peak_memory_kib),
    }
}

/// What all measurements share.
struct Bench {
    tls: Tls,
    /// The authority's certificate alone, and behind the system's.
    authority: NamedTempFile,
    certificates: NamedTempFile,
    concurrency: usize,
}

impl Bench {
    fn new(concurrency: usize) -> anyhow::Result<Bench> {
        let tls = Tls::new()?;
        let (authority, certificates) = (NamedTempFile::new()?, NamedTempFile::new()?);
        std::fs::write(&authority, &tls.authority)?;
        let system = SYSTEM_CERTIFICATES.iter().find(|path| Path::new(path).exists());
        let system = system.context("the system has no certificates: install ca-certificates")?;
        let system = std::fs::read_to_string(system)?;
        std::fs::write(&certificates, format!("{system}\n{}", tls.authority))?;
        Ok(Bench { tls, authority, certificates, concurrency })
    }

    /// The environment that Lambda and our Terraform give to a function.
    fn environment(&self, stub: &Stub) -> Vec<(String, String)> {
        let path = std::env::var("PATH").unwrap_or_default();
        [
            ("PATH", path),
            ("AWS_LAMBDA_RUNTIME_API", stub.runtime_api.to_string()),
            ("AWS_LAMBDA_FUNCTION_NAME", "submit-payments".to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769".to_owned()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1".to_owned()),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/submit-payments".to_owned()),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "bench".to_owned()),
            ("AWS_REGION", "eu-west-2".to_owned()),
            ("AWS_ACCESS_KEY_ID", "ASIAEXAMPLE".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            // As long as Lambda's are about.
            ("AWS_SESSION_TOKEN", "token".repeat(200)),
            ("AWS_ENDPOINT_URL_DYNAMODB", format!("https://{}", stub.table)),
            ("SSL_CERT_FILE", self.certificates.path().display().to_string()),
            ("NODE_EXTRA_CA_CERTS", self.authority.path().display().to_string()),
            ("NODE_NO_WARNINGS", "1".to_owned()),
            ("REMIT_PAYMENTS_TABLE", "PaymentsTable".to_owned()),
            ("REMIT_REFUSALS_TABLE", "RefusalsTable".to_owned()),
            ("REMIT_QUEUE_URL", "https://sqs/main".to_owned()),
            ("REMIT_DEAD_LETTER_QUEUE_URL", "https://sqs/dead".to_owned()),
            ("REMIT_RECEIVE_COUNT_MAX", "5".to_owned()),
            ("REMIT_RETRY_DELAY_SECONDS", "30".to_owned()),
            ("REMIT_CONCURRENCY", self.concurrency.to_string()),
            ("REMIT_DEADLINE_MARGIN_MS", "3000".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    async fn start(
        &self,
        command: &[OsString],
        latency_ms: u64,
        share: Option<&Share>,
    ) -> anyhow::Result<(Stub, Process)> {
        let stub = Stub::start(&self.tls, Duration::from_millis(latency_ms)).await?;
        let process = Process::start(command, &self.environment(&stub), share)?;
        Ok((stub, process))
    }

    /// Batches of one size in a new process.
    async fn sample(
        &self,
        subject: &Subject,
        latency_ms: u64,
        records: usize,
    ) -> anyhow::Result<Sample> {
        let of = || format!("{}, {records} records, {latency_ms} ms", subject.name);
        let (mut stub, process) = self.start(&subject.command, latency_ms, None).await?;
        stub.polled().await.with_context(of)?;
        let warm_up = Instant::now();
        while {
            stub.invoke(event(records), records).await.with_context(of)?;
            warm_up.elapsed() < WARM_UP
        } {}
        let mut batches_us = Vec::new();
        let (measured, cpu) = (Instant::now(), process.cpu()?);
        while {
            let took = stub.invoke(event(records), records).await.with_context(of)?;
            batches_us.push(u64::try_from(took.as_micros())?);
            measured.elapsed() < MEASURED
        } {}
        let messages = u64::try_from(batches_us.len() * records)?;
        let cpu = process.cpu()?.saturating_sub(cpu);
        Ok(Sample {
            batch_us: Spread::of(batches_us).median,
            cpu_ns_per_message: u64::try_from(cpu.as_nanos())? / messages,
            peak_memory_kib: process.peak_memory_kib()?,
        })
    }

    /// Starts of new processes, up to the answer to a first batch.
    async fn cold_starts(
        &self,
        subjects: &[Subject],
        share: Option<&Share>,
        rounds: usize,
        bar: &ProgressBar,
    ) -> anyhow::Result<Vec<ColdStart>> {
        let mut times: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
        let starts = if share.is_some() { 1 } else { COLD_STARTS };
        for _ in 0..rounds {
            for _ in 0..starts {
                for subject in subjects {
                    let (mut stub, process) = self.start(&subject.command, 0, share).await?;
                    let polled = stub.polled().await.context(subject.name)?;
                    stub.invoke(event(FIRST_BATCH), FIRST_BATCH).await.context(subject.name)?;
                    let answered = process.started.elapsed();
                    let polled = polled.duration_since(process.started);
                    let us =
                        (u64::try_from(polled.as_micros())?, u64::try_from(answered.as_micros())?);
                    times.entry(subject.name).or_default().push(us);
                }
            }
            bar.inc(1);
        }
        let of = |subject: &Subject| {
            let times = &times[subject.name];
            ColdStart {
                function: subject.name,
                memory_mb: share.map(|_| LEAST_MEMORY_MB),
                first_poll_us: Spread::of(times.iter().map(|(polled, _)| *polled)),
                first_batch_us: Spread::of(times.iter().map(|(_, answered)| *answered)),
            }
        };
        Ok(subjects.iter().map(of).collect())
    }
}
