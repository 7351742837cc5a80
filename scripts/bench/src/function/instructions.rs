//! The record path in instructions, which are nearly the same on a busy machine: the packaged function
//! under callgrind, once with few and once with more batches. The difference is what its records cost,
//! without the start.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, ensure};

use super::Bench;
use super::event::event;

/// Records of a batch.
const RECORDS: usize = 100;
/// Batches of the two runs. The first one opens every connection.
const BATCHES: [usize; 2] = [2, 12];
/// Records in progress at once: few, so that every run opens as many connections.
const CONCURRENCY: usize = 8;
/// Growth that is let pass, in per cent.
const GROWTH_MAX: u64 = 5;

/// Instructions that the program takes for a record.
///
/// # Errors
/// valgrind is missing, or the function does not do its work.
pub fn per_record(function: &Path) -> anyhow::Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bench = Bench::new(CONCURRENCY)?;
    let [few, many] = BATCHES;
    let (few_cost, many_cost) = runtime.block_on(async {
        anyhow::Ok((counted(&bench, function, few).await?, counted(&bench, function, many).await?))
    })?;
    let records = u64::try_from((many - few) * RECORDS)?;
    Ok(many_cost.saturating_sub(few_cost) / records)
}

async fn counted(bench: &Bench, function: &Path, batches: usize) -> anyhow::Result<u64> {
    let log = tempfile::NamedTempFile::new()?;
    let command: [OsString; 5] = [
        "valgrind".into(),
        "--tool=callgrind".into(),
        "--callgrind-out-file=/dev/null".into(),
        format!("--log-file={}", log.path().display()).into(),
        function.into(),
    ];
    let (mut stub, process) = bench.start(&command, 0, None).await?;
    stub.polled().await?;
    for _ in 0..batches {
        stub.invoke(event(RECORDS), RECORDS).await?;
    }
    process.end()?;
    let log = std::fs::read_to_string(log)?;
    let collected = log.lines().find_map(|line| line.split_once("Collected : "));
    let collected = collected.and_then(|(_, count)| count.trim().parse().ok());
    collected.with_context(|| format!("callgrind says nothing:\n{log}"))
}

/// Compares with the committed figure.
///
/// # Errors
/// It grew by more than 5 %; or it shrank by as much, and the figure no longer guards anything.
pub fn check(figure: &Path, measured: u64) -> anyhow::Result<()> {
    let committed = std::fs::read_to_string(figure);
    let committed: u64 = committed.with_context(|| figure.display().to_string())?.trim().parse()?;
    let (least, most) =
        (committed * (100 - GROWTH_MAX) / 100, committed * (100 + GROWTH_MAX) / 100);
    ensure!(
        (least..=most).contains(&measured),
        "a record takes {measured} instructions, {} has {committed}: find out why; --refresh writes \
         the new figure when it is meant",
        figure.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_per_cent_pass_and_more_do_not_either_way() {
        let figure = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&figure, "1000\n").unwrap();
        for (measured, passes) in
            [(1_000, true), (1_050, true), (1_051, false), (950, true), (949, false)]
        {
            assert_eq!(check(figure.path(), measured).is_ok(), passes, "{measured}");
        }
        assert!(check(Path::new("/nowhere"), 1).is_err());
    }
}
