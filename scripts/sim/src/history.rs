//! One history: clients, two versions of the function on one queue, and an operator, each on its own
//! while faults strike; then peace, in which everything must come to rest.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;

use aws_lambda_events::sqs::SqsEvent;
use function::batch::{Done, Outcome as _};
use function::invocation::Invocation;
use function::settings::Settings;
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use submit_payments::batch::{self, Report};
use submit_payments::config::Config;
use submit_payments::outcome::Outcome;
use tokio::time::{Instant, sleep};

use crate::clients::{number_of, submit};
use crate::faults::{Fault, Place, Sabotage};
use crate::function::{Function, Seen, lock};
use crate::queue::Message;
use crate::tally::Tally;
use crate::world::{Violation, World};

/// The visibility timeout: six function timeouts and the batching window.
const VISIBILITY: Duration = Duration::from_secs(6 * 15 + 20);

/// The function's timeout.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The time within which the queue must drain when faults have stopped: the longest postponement and
/// then some.
const DRAINED_WITHIN: Duration = Duration::from_secs(2 * 60 * 60);

/// The longest sleep of a poller beside an empty queue.
const IDLE: Duration = Duration::from_secs(3 * 60);

/// Copies of one submission that the operator makes at the most.
const COPIES_MAX: usize = 4;

/// What a seed led to.
#[derive(Debug)]
pub struct History {
    /// The broken invariant, if one was.
    pub violation: Option<Violation>,
    /// What happened, counted.
    pub tally: Tally,
    /// What happened, line by line, when it was asked for.
    pub trace: Vec<String>,
}

/// Runs the history of a seed.
///
/// # Panics
/// When the runtime cannot be built: it needs nothing but memory.
#[must_use]
pub fn run(seed: u64, sabotage: Option<Sabotage>, is_traced: bool) -> History {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs only memory");
    runtime.block_on(async {
        let began = Instant::now();
        let world = Mutex::new(World::new(seed, sabotage, is_traced));
        let (older, newer) = versions(&mut lock(&world));
        let mut actors: FuturesUnordered<Pin<Box<dyn Future<Output = ()> + '_>>> =
            FuturesUnordered::new();
        actors.push(Box::pin(direct(&world)));
        actors.push(Box::pin(operate(&world)));
        for version in [&older, &older, &newer, &newer] {
            actors.push(Box::pin(poll(&world, version)));
        }
        while actors.next().await.is_some() {}
        drop(actors);
        let mut world = world.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        world.tally.seconds = began.elapsed().as_secs();
        History {
            violation: world.violation,
            tally: world.tally,
            trace: world.trace.unwrap_or_default(),
        }
    })
}

/// A deployed version of the function.
struct Version {
    name: &'static str,
    config: Config,
}

fn versions(world: &mut World) -> (Version, Version) {
    let max = world.receive_count_max;
    // While a new value is rolled out, the function and the redrive policy may disagree by one.
    let disagrees = world.rng.u32(0..3);
    let (older, newer) = (max - u32::from(disagrees == 1), max + u32::from(disagrees == 2));
    let mut version = |name, receive_count_max| Version {
        name,
        config: Config {
            payments_table: "PaymentsTable".to_owned(),
            refusals_table: "RefusalsTable".to_owned(),
            batch: Settings {
                queue_url: "queue".to_owned(),
                dead_letter_queue_url: "dead-letter-queue".to_owned(),
                receive_count_max,
                retry_delay: Duration::from_secs(world.rng.u64(0..60)),
                concurrency: [1, 4, 64][world.rng.usize(0..3)],
                deadline_margin: Duration::from_secs(world.rng.u64(1..4)),
            },
        },
    };
    (version("1", older), version("2", newer))
}

/// Clients, then the end of all faults, then the checks of what is left.
async fn direct(world: &Mutex<World>) {
    let (count, pace_ms) = {
        let mut world = lock(world);
        let pace_ms = [20, 1_000, 30_000][world.rng.usize(0..3)];
        (world.rng.u32(20..=100), pace_ms)
    };
    for _ in 0..count {
        let pause = lock(world).millis(0..pace_ms);
        sleep(pause).await;
        let mut world = lock(world);
        if world.is_over {
            return;
        }
        let now_ms = world.now_ms();
        let World { rng, accepted, .. } = &mut *world;
        let submission = submit(rng, accepted, now_ms);
        world.accept(submission);
    }
    let until_calm = lock(world).millis(0..40 * 60_000);
    sleep(until_calm).await;
    lock(world).calm_down();
    rest(world).await;
    lock(world).is_over = true;
}

/// Peace: the queue drains, every letter that ever was is re-driven, also what was discarded, and
/// re-driving all of them again, twice over, changes nothing.
async fn rest(world: &Mutex<World>) {
    drained(world).await;
    lock(world).redrive_all(1);
    drained(world).await;
    let before = {
        let mut world = lock(world);
        world.check_rest();
        let before = world.snapshot();
        world.redrive_all(2);
        before
    };
    drained(world).await;
    let mut world = lock(world);
    if world.snapshot() != before {
        world.broken(9, "a second re-drive changed what the first one left");
    }
    world.check_rest();
}

async fn drained(world: &Mutex<World>) {
    let until = Instant::now() + DRAINED_WITHIN;
    loop {
        {
            let mut world = lock(world);
            let is_busy = world.apply_late() || world.in_flight > 0;
            if world.is_over || (world.queues.main.is_empty() && !is_busy) {
                return;
            }
            if Instant::now() > until {
                let left = world.queues.main.len();
                return world.broken(13, format!("{left} messages do not drain"));
            }
        }
        sleep(Duration::from_secs(20)).await;
    }
}

/// An operator who re-drives and discards dead letters at any moment.
async fn operate(world: &Mutex<World>) {
    loop {
        let pause = lock(world).millis(10_000..10 * 60_000);
        sleep(pause).await;
        let mut world = lock(world);
        if world.is_over {
            return;
        }
        for letter in std::mem::take(&mut world.queues.dead) {
            if world.strikes(Fault::Discard, Place::Elsewhere) {
                world.discard(&letter);
                continue;
            }
            let is_spent = letter.copy as usize >= COPIES_MAX;
            if is_spent || !world.strikes(Fault::Redrive, Place::Elsewhere) {
                world.queues.dead.push(letter);
                continue;
            }
            world.redrive(&letter);
            if world.strikes(Fault::RedriveTwice, Place::Elsewhere) {
                world.queues.dead.push(letter);
            }
        }
    }
}

/// One poller of the queue, which invokes its version with what it receives.
async fn poll(world: &Mutex<World>, version: &Version) {
    loop {
        let pause = {
            let mut world = lock(world);
            let next = world.queues.next_visible(Instant::now()).unwrap_or(IDLE).min(IDLE);
            next + world.millis(1..1_000)
        };
        sleep(pause).await;
        let batch = {
            let mut world = lock(world);
            world.apply_late();
            if world.is_over {
                return;
            }
            world.receive(VISIBILITY)
        };
        if !batch.is_empty() {
            lock(world).in_flight += 1;
            invoke(world, version, batch).await;
            lock(world).in_flight -= 1;
        }
    }
}

/// How one invocation is disturbed.
struct Disturbance {
    left: Duration,
    killed_at_poll: Option<usize>,
    is_short: bool,
    is_nameless: bool,
}

fn disturb(world: &mut World, batch: &mut Vec<Message>) -> Disturbance {
    if world.strikes(Fault::TwiceInBatch, Place::Elsewhere) {
        batch.push(batch[0].clone());
    }
    let is_short = world.strikes(Fault::ShortDeadline, Place::Elsewhere);
    let is_killed = world.strikes(Fault::Crash, Place::Elsewhere);
    let polls_max = 3 * batch.len() + 3;
    Disturbance {
        left: if is_short { world.millis(0..5_000) } else { TIMEOUT },
        killed_at_poll: is_killed.then(|| world.rng.usize(0..polls_max)),
        is_short,
        is_nameless: world.strikes(Fault::NamelessRecord, Place::Elsewhere),
    }
}

fn event(world: &mut World, batch: &[Message], is_nameless: bool) -> SqsEvent {
    let mut event = SqsEvent::default();
    event.records = batch.iter().map(Message::delivered).collect();
    for record in &mut event.records {
        if world.strikes(Fault::CountMissing, Place::Elsewhere) {
            record.attributes.remove("ApproximateReceiveCount");
        }
    }
    if is_nameless {
        event.records[0].message_id = None;
    }
    event
}

async fn invoke(world: &Mutex<World>, version: &Version, mut batch: Vec<Message>) {
    let is_strict = lock(world).is_strict(version.name);
    let function = Function::new(world, is_strict);
    let (disturbance, event, invocation) = {
        let mut world = lock(world);
        let disturbance = disturb(&mut world, &mut batch);
        let event = event(&mut world, &batch, disturbance.is_nameless);
        let ignored = if world.is_sabotaged(Sabotage::DeadlineIgnored) { 3600 } else { 0 };
        let left = disturbance.left + Duration::from_secs(ignored);
        world.tally.invocations += 1;
        world.tally.deliveries += batch.len() as u64;
        world.log(|| {
            let ids: Vec<String> = batch.iter().map(Message::id).collect();
            format!("version {} is invoked with {}", version.name, ids.join(" "))
        });
        (disturbance, event, Invocation::new(world.now_ms(), left, version.name.to_owned()))
    };
    let ends = Instant::now() + disturbance.left;
    let work = batch::process(&version.config, &function, &invocation, event);
    let done = mortal(Box::pin(work), disturbance.killed_at_poll, || note_kill(world, &function));
    let done = done.await;
    let mut world = lock(world);
    if Instant::now() > ends {
        world.broken(10, "an invocation outlives its deadline, and all its records with it");
    }
    let seen = lock(&function.seen);
    match done {
        None => world.log(|| "the process is killed".to_owned()),
        Some(_) if disturbance.killed_at_poll.is_some() => {
            *world.tally.crashes.entry(("before", "acknowledgement")).or_default() += 1;
            world.log(|| "the process is killed before it answers".to_owned());
        }
        Some(Err(error)) if disturbance.is_nameless => world.log(|| error.to_string()),
        Some(Err(error)) => world.broken(10, format!("a whole batch fails: {error}")),
        Some(Ok(report)) => answer(&mut world, &batch, &report, &seen, disturbance.is_short),
    }
}

/// Runs a future until it is done or, at one of its polls, killed: then everything in it is dropped
/// where it stands. `before_kill` is told first.
async fn mortal<F: Future>(
    mut work: Pin<Box<F>>,
    killed_at_poll: Option<usize>,
    before_kill: impl Fn(),
) -> Option<F::Output> {
    let mut polls = 0;
    poll_fn(|context| {
        if killed_at_poll == Some(polls) {
            before_kill();
            return Poll::Ready(None);
        }
        polls += 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

fn note_kill(world: &Mutex<World>, function: &Function<'_>) {
    let seen = lock(&function.seen);
    let mut world = lock(world);
    let under_way = seen.under_way.iter().filter(|(_, count)| **count > 0);
    let mut is_idle = true;
    for (point, count) in under_way {
        is_idle = false;
        *world.tally.crashes.entry(*point).or_default() += u64::from(*count);
    }
    if is_idle {
        *world.tally.crashes.entry(("before", "anything")).or_default() += 1;
    }
}

/// What the event source does with the function's answer, and whether that answer is right.
fn answer(world: &mut World, batch: &[Message], report: &Report, seen: &Seen, is_short: bool) {
    let mut ids: Vec<String> = batch.iter().map(Message::id).collect();
    let mut named: Vec<&String> = report.messages.iter().map(|done| &done.message_id).collect();
    ids.sort();
    named.sort();
    if named != ids.iter().collect::<Vec<_>>() {
        return world.broken(10, "the report does not name each record of the batch once");
    }
    let response = serde_json::to_value(report.response()).unwrap_or_default();
    let mut failed = failures(&response, &ids);
    if world.is_sabotaged(Sabotage::EverythingAcknowledged) {
        failed.clear();
    }
    if world.is_sabotaged(Sabotage::NeighboursFail) && !failed.is_empty() {
        failed = ids;
    }
    let is_slow = is_short || !seen.faulty.is_empty();
    for done in &report.messages {
        let Some(number) = number_of(&done.message_id) else { continue };
        count(world, &done.outcome, seen.fresh.contains(&number));
        let is_acknowledged = !failed.contains(&done.message_id);
        let (id, outcome) = (&done.message_id, &done.outcome);
        world.log(|| format!("{id}: {outcome:?}, acknowledged: {is_acknowledged}"));
        let has_letter = seen.sent.contains(id);
        if is_acknowledged && !world.is_durable(number, outcome, has_letter) {
            world.broken(8, format!("{id} is acknowledged as {outcome:?}, which is not durable"));
        }
        // Time ran out for it, or for its twin in the same batch.
        let is_retry = |other: &Done<_>| matches!(other.outcome, Outcome::Retry(_));
        let mut twins = report.messages.iter().filter(|other| other.message_id == *id);
        let is_late = is_slow && twins.any(is_retry);
        if !is_acknowledged && !seen.faulty.contains(&number) && !is_late {
            world.broken(10, format!("{id} fails although nothing happened to it"));
        }
    }
    for message in batch.iter().filter(|message| !failed.contains(&message.id())) {
        world.acknowledge(message);
    }
}

/// The messages that are delivered again, as Lambda reads a response: nothing, or a key that it does
/// not know, acknowledges everything; an identifier that is no message's fails the whole batch.
fn failures(response: &Value, ids: &[String]) -> Vec<String> {
    let Some(failures) = response.get("batchItemFailures").and_then(Value::as_array) else {
        return Vec::new();
    };
    let named = |failure: &Value| Some(failure.get("itemIdentifier")?.as_str()?.to_owned());
    let failed: Option<Vec<String>> = failures.iter().map(named).collect();
    failed.filter(|failed| failed.iter().all(|id| ids.contains(id))).unwrap_or_else(|| ids.to_vec())
}

fn count(world: &mut World, outcome: &Outcome, is_fresh: bool) {
    let detail = match outcome {
        Outcome::Stored if is_fresh => "now",
        Outcome::Stored => "before",
        Outcome::Duplicate => "",
        Outcome::Refused(refusal) => refusal.reason(),
        Outcome::Dead(reason) | Outcome::Retry(reason) => reason.name(),
    };
    *world.tally.outcomes.entry((outcome.name(), detail)).or_default() += 1;
}
