//! Kills under load: functions and the whole pipeline are killed (kill -9) at seeded moments while
//! payments come in; whoever got no answer sends its payment again, as a client should.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use indicatif::ProgressBar;
use tokio::sync::watch;

use crate::account::{Account, settle};
use crate::client::Client;
use crate::load::{self, Due, Load};
use crate::pipeline::Pipeline;

/// How long a client goes on sending one payment.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it tries, and how often the next moment is looked for.
const EVERY: Duration = Duration::from_millis(2);
/// Clients side by side.
const CLIENTS: usize = 32;
/// The longest time by which a kill comes after the submission that it was drawn for.
const AFTER_US_MAX: u64 = 5_000;

/// What is killed, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Kills {
    /// Payments to submit.
    pub count: usize,
    /// How often a process of the function is killed.
    pub functions: usize,
    /// How often the whole pipeline is killed and started again.
    pub pipelines: usize,
    /// Seed of the moments at which something is killed.
    pub seed: u64,
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Function,
    Pipeline,
}

/// A kill: after so many accepted payments, and so long after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    accepted: usize,
    after: Duration,
    victim: Victim,
}

/// Submits, kills, and settles the account.
///
/// # Errors
/// Something is lost or stored twice, or the pipeline does not come back.
pub async fn run(kills: Kills, bar: &ProgressBar) -> anyhow::Result<Account> {
    // A delivery whose process is killed counts as a receive. With few permitted receives a payment could die
    // of kills alone, and here each must be stored in the end.
    let flags = ["--visibility-timeout", "2", "--retry-delay", "0", "--max-receive-count", "1000"];
    let (mut pipeline, client) = Pipeline::start(&flags.map(str::to_owned)).await?;
    let (clients, current) = watch::channel(client);
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    let submit = move |due: Due| {
        let (current, counter) = (current.clone(), Arc::clone(&counter));
        async move {
            let request_id = submit_until_accepted(&current, &due.payment_id).await;
            counter.fetch_add(usize::from(request_id.is_some()), Ordering::Relaxed);
            request_id
        }
    };
    let load =
        Load { count: kills.count, time_max: Duration::MAX, rate: None, connections: CLIENTS };
    let submitting = tokio::spawn({
        let bar = bar.clone();
        async move { load::run(load, &bar, submit).await }
    });
    let mut choices = fastrand::Rng::with_seed(kills.seed);
    for moment in moments(kills, &mut choices) {
        wait_for(&accepted, moment.accepted).await?;
        tokio::time::sleep(moment.after).await;
        match moment.victim {
            Victim::Function => pipeline.kill_function(|count| choices.usize(..count)).await?,
            Victim::Pipeline => drop(clients.send_replace(pipeline.kill_and_restart().await?)),
        }
    }
    let sent = submitting.await?;
    ensure!(sent.failed == 0, "{} payments were never accepted", sent.failed);
    let client = clients.borrow().clone();
    let account = settle(&client, &sent.accepted).await?;
    account.check()?;
    Ok(account)
}

fn moments(kills: Kills, choices: &mut fastrand::Rng) -> Vec<Moment> {
    let mut victims = vec![Victim::Function; kills.functions];
    victims.extend(vec![Victim::Pipeline; kills.pipelines]);
    choices.shuffle(&mut victims);
    let mut moment = |victim| Moment {
        accepted: choices.usize(..kills.count.max(1)),
        after: Duration::from_micros(choices.u64(..AFTER_US_MAX)),
        victim,
    };
    let mut moments: Vec<Moment> = victims.into_iter().map(&mut moment).collect();
    moments.sort_by_key(|moment| moment.accepted);
    moments
}

async fn wait_for(accepted: &AtomicUsize, count: usize) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(EVERY);
    while accepted.load(Ordering::Relaxed) < count {
        ensure!(started.elapsed() < PATIENCE, "only {accepted:?} payments were accepted");
        ticks.tick().await;
    }
    Ok(())
}

async fn submit_until_accepted(
    current: &watch::Receiver<Client>,
    payment_id: &str,
) -> Option<String> {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(EVERY);
    while started.elapsed() < PATIENCE {
        ticks.tick().await;
        let client = current.borrow().clone();
        if let Ok(request_id) = client.submit(payment_id).await {
            return Some(request_id);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_moments_in_the_order_of_the_load() {
        let kills = |seed| Kills { count: 1_000, functions: 10, pipelines: 2, seed };
        let drawn = |seed| moments(kills(seed), &mut fastrand::Rng::with_seed(seed));
        assert_eq!(drawn(3), drawn(3));
        assert_ne!(drawn(3), drawn(4));
        let is_pipeline = |moment: &&Moment| moment.victim == Victim::Pipeline;
        assert_eq!(drawn(3).iter().filter(is_pipeline).count(), 2);
        assert_eq!(drawn(3).len(), 12);
        assert!(drawn(3).is_sorted_by_key(|moment| moment.accepted));
    }
}
