//! A function: a fixed number of processes, kept alive, each with one invocation at a time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use futures::future::try_join_all;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::backoff::Backoff;
use crate::invoke_error::InvokeError;
use crate::process::{Environment, FunctionSettings, StartError};

/// How long an invocation waits for a free process before it is given up.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A function: some processes, each with one invocation at a time. Clones are the same function.
#[derive(Clone)]
pub struct Function {
    jobs: mpsc::Sender<Job>,
    give_up_after: Duration,
    process_ids: ProcessIds,
    stop: watch::Sender<bool>,
    supervisors: Arc<tokio::sync::Mutex<JoinSet<()>>>,
}

type ProcessIds = Arc<Mutex<BTreeSet<u32>>>;

impl Function {
    /// Starts all processes and waits until each asks for its first invocation, so that a wrong
    /// configuration shows at once. From then on a process that ends is replaced.
    ///
    /// # Errors
    /// [`StartError`] of the first process that did not start; the others are killed.
    pub async fn start(settings: FunctionSettings) -> Result<Self, StartError> {
        let settings = Arc::new(settings);
        let count = settings.environments.max(1);
        let starts = (0..count).map(|_| Environment::start(&settings));
        let environments = try_join_all(starts).await?;

        let (jobs, waiting) = mpsc::channel(count);
        let waiting = Arc::new(tokio::sync::Mutex::new(waiting));
        let process_ids = ProcessIds::default();
        let stop = watch::Sender::new(false);
        let mut supervisors = JoinSet::new();
        for environment in environments {
            lock(&process_ids).insert(environment.process_id());
            let supervisor = Supervisor {
                settings: Arc::clone(&settings),
                jobs: Arc::clone(&waiting),
                process_ids: Arc::clone(&process_ids),
                stop: stop.subscribe(),
                backoff: Backoff::new(),
            };
            supervisors.spawn(supervisor.run(environment));
        }
        Ok(Self {
            jobs,
            give_up_after: WAIT_MAX + settings.timeout,
            process_ids,
            stop,
            supervisors: Arc::new(tokio::sync::Mutex::new(supervisors)),
        })
    }

    /// Invokes the function with one JSON event, in whichever process is idle first.
    ///
    /// # Errors
    /// [`InvokeError`]. Nothing is retried here; after `Exited` and `TimedOut` any part of the
    /// work may have been done.
    pub async fn invoke(&self, payload: Bytes) -> Result<Bytes, InvokeError> {
        let (answer, answered) = oneshot::channel();
        let invocation = async {
            let job = Job { payload, answer };
            self.jobs.send(job).await.map_err(|_| InvokeError::Unavailable)?;
            answered.await.unwrap_or(Err(InvokeError::Unavailable))
        };
        let bounded = tokio::time::timeout(self.give_up_after, invocation);
        bounded.await.unwrap_or(Err(InvokeError::Unavailable))
    }

    /// The ids of the processes that are ready or at work, for whoever wants to kill one.
    pub fn process_ids(&self) -> Vec<u32> {
        lock(&self.process_ids).iter().copied().collect()
    }

    /// Stops taking invocations, lets those under way finish for as long as `within`, then kills
    /// the processes.
    pub async fn stop(&self, within: Duration) {
        self.stop.send_replace(true);
        let mut supervisors = self.supervisors.lock().await;
        let finished = async { while supervisors.join_next().await.is_some() {} };
        if tokio::time::timeout(within, finished).await.is_err() {
            // Each supervisor owns its process, and a dropped process is a killed one.
            supervisors.shutdown().await;
        }
        lock(&self.process_ids).clear();
    }
}

fn lock(process_ids: &ProcessIds) -> MutexGuard<'_, BTreeSet<u32>> {
    process_ids.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An invocation that waits for a process.
struct Job {
    payload: Bytes,
    answer: oneshot::Sender<Result<Bytes, InvokeError>>,
}

/// Keeps one process alive and fed.
struct Supervisor {
    settings: Arc<FunctionSettings>,
    jobs: Arc<tokio::sync::Mutex<mpsc::Receiver<Job>>>,
    process_ids: ProcessIds,
    stop: watch::Receiver<bool>,
    backoff: Backoff,
}

/// Why a process serves no more.
enum End {
    /// The function is being stopped.
    Stopped,
    /// The process ended or was killed.
    Lost,
}

impl Supervisor {
    async fn run(mut self, first: Environment) {
        let mut current = Some(first);
        while let Some(mut environment) = current {
            let end = self.serve(&mut environment).await;
            lock(&self.process_ids).remove(&environment.process_id());
            environment.end().await;
            current = match end {
                End::Stopped => None,
                End::Lost => self.replace().await,
            };
        }
    }

    async fn serve(&mut self, environment: &mut Environment) -> End {
        loop {
            let job = tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return End::Stopped,
                () = environment.exited() => return End::Lost,
                job = next_job(&self.jobs) => job,
            };
            let Some(Job { payload, answer }) = job else {
                return End::Stopped;
            };
            if answer.is_closed() {
                continue;
            }
            let outcome = environment.invoke(payload, self.settings.timeout).await;
            let alive = match &outcome {
                Ok(_) => {
                    self.backoff.reset();
                    true
                }
                Err(InvokeError::FunctionError(_)) => true,
                Err(
                    InvokeError::TimedOut { .. }
                    | InvokeError::Exited
                    | InvokeError::InitFailed(_)
                    | InvokeError::Unavailable,
                ) => false,
            };
            // A caller that went away wants no answer.
            let _ = answer.send(outcome);
            if !alive {
                return End::Lost;
            }
        }
    }

    /// Starts processes, ever more slowly, until one is ready; `None` when the function stops.
    async fn replace(&mut self) -> Option<Environment> {
        let function = &self.settings.name;
        loop {
            let delay = self.backoff.after_failure();
            let delay_ms = delay.as_millis();
            tracing::warn!(function, delay_ms, "a process of the function ended; starting another");
            let started = async {
                tokio::time::sleep(delay).await;
                Environment::start(&self.settings).await
            };
            let started = tokio::select! {
                () = stopped(&mut self.stop) => return None,
                started = started => started,
            };
            match started {
                Ok(environment) => {
                    lock(&self.process_ids).insert(environment.process_id());
                    return Some(environment);
                }
                Err(error) => tracing::error!("{error}"),
            }
        }
    }
}

/// Resolves when the function is stopped, or when its last clone is dropped.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn next_job(jobs: &tokio::sync::Mutex<mpsc::Receiver<Job>>) -> Option<Job> {
    jobs.lock().await.recv().await
}
