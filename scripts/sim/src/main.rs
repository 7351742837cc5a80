//! `cargo sim`: histories by the thousand, or one of them, line by line.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use sim::function::lock;
use sim::history::run;
use sim::tally::Tally;

/// Histories after which every branch must have been reached.
const COMPLETE_AFTER: u64 = 2_000;

/// Runs the real record path under simulated faults and checks every invariant after every step.
#[derive(Debug, Parser)]
#[command(name = "cargo sim")]
struct Arguments {
    /// Run this one history and print everything that happens in it.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run so many histories.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed; without it, one that has not been run before.
    #[arg(long)]
    from: Option<u64>,
    /// Threads; without it, one for each core.
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.seed {
        Some(seed) => Ok(replay(seed)),
        None => many(&arguments),
    }
}

fn replay(seed: u64) -> ExitCode {
    let history = run(seed, None, true);
    for line in &history.trace {
        println!("{line}");
    }
    match history.violation {
        Some(violation) => {
            println!("seed {seed}: {violation}\nreplay: cargo sim -- --seed {seed}");
            ExitCode::FAILURE
        }
        None => {
            println!("seed {seed}: every invariant holds");
            ExitCode::SUCCESS
        }
    }
}

fn many(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    // Milliseconds, so that no two runs begin with the same seeds.
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let from = arguments.from.unwrap_or(u64::try_from(now_ms)? << 20);
    let threads = match arguments.threads {
        Some(threads) => threads.max(1),
        None => std::thread::available_parallelism()?.get(),
    };
    let bar = ProgressBar::new(arguments.seeds);
    bar.set_style(ProgressStyle::with_template(
        "{wide_bar} {human_pos}/{human_len} histories, {per_sec}, {eta} left",
    )?);
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let total = Mutex::new(Tally::default());
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut tally = Tally::default();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= arguments.seeds || failed.load(Ordering::Relaxed) != u64::MAX {
                        break;
                    }
                    let seed = from.wrapping_add(index);
                    let history = run(seed, None, false);
                    if history.violation.is_some() {
                        failed.store(seed, Ordering::Relaxed);
                    }
                    tally.add(&history.tally);
                    bar.inc(1);
                }
                lock(&total).add(&tally);
            });
        }
    });
    bar.finish_and_clear();
    let failed = failed.into_inner();
    if failed != u64::MAX {
        return Ok(replay(failed));
    }
    let total = lock(&total);
    print!("{}", total.summary(began.elapsed()));
    println!("first seed {from}; every invariant holds in every history");
    let missing = total.missing();
    if arguments.seeds >= COMPLETE_AFTER && !missing.is_empty() {
        println!("never reached: {}", missing.join(", "));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
