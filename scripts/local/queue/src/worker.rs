//! A thread that owns a connection and runs jobs in groups: one transaction, then the replies.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::QueueError;
use crate::store::Store;

/// The most jobs in one transaction: enough to share its cost, few enough to answer soon.
const GROUP_MAX: usize = 256;

/// Pause after a batch of a move task that the database refused.
const MOVE_RETRY_MS: i64 = 1_000;

/// Tells the caller of a job its result, given whether the job's transaction was committed.
type Reply = Box<dyn FnOnce(bool) + Send>;
type Job = Box<dyn FnOnce(&mut Store) -> Reply + Send>;

/// Hands jobs to the thread. The thread ends with the last clone.
#[derive(Clone)]
pub(crate) struct Worker(Sender<Job>);

impl Worker {
    /// Starts the thread; `wake` is told the queues that changed, after their commit. Only the
    /// worker with `moves` advances move tasks.
    pub(crate) fn start(
        store: Store,
        moves: bool,
        wake: impl Fn(&str) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, jobs) = channel();
        let name = if moves { "queue writer" } else { "queue reader" };
        std::thread::Builder::new()
            .name(name.into())
            .spawn(move || run(store, &jobs, moves, &wake))?;
        Ok(Self(sender))
    }

    /// Runs `operation` in the thread and returns its result once it is durable. An operation that fails
    /// is undone, and the others in its transaction are not affected. It does not run when the caller
    /// has gone before its turn.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Store) -> Result<T, QueueError> + Send + 'static,
    ) -> Result<T, QueueError> {
        let (sender, answer) = oneshot::channel();
        let job: Job = Box::new(move |store| {
            if sender.is_closed() {
                return Box::new(|_| {});
            }
            let result = undoable(store, operation);
            Box::new(move |committed| {
                // Nobody may be waiting any more.
                drop(sender.send(if committed { result } else { Err(QueueError::Stopped) }));
            })
        });
        self.0.send(job).map_err(|_| QueueError::Stopped)?;
        answer.await.map_err(|_| QueueError::Stopped)?
    }
}

fn run(mut store: Store, jobs: &Receiver<Job>, moves: bool, wake: &impl Fn(&str)) {
    loop {
        let first = match store.next_move_ms.filter(|_| moves) {
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(next_ms) => {
                let wait_ms = u64::try_from(next_ms - store.now_ms()).unwrap_or(0);
                jobs.recv_timeout(Duration::from_millis(wait_ms))
            }
        };
        let first = match first {
            Ok(job) => Some(job),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let group = first.into_iter().chain(jobs.try_iter()).take(GROUP_MAX);
        let mut replies: Vec<Reply> = Vec::new();
        let committed = commit(&mut store, |store| {
            replies.extend(group.map(|job| job(store)));
            if moves && store.next_move_ms.is_some_and(|next_ms| next_ms <= store.now_ms()) {
                advance_moves(store);
            }
            Ok(())
        });
        if let Err(error) = &committed {
            store.flights.clear();
            tracing::error!(error = error as &dyn std::error::Error, "queue commit failed");
        }
        for name in std::mem::take(&mut store.touched) {
            wake(&name);
        }
        for reply in replies {
            reply(committed.is_ok());
        }
    }
}

/// Moves what is due. A failure of the database is tried again later and harms no job.
fn advance_moves(store: &mut Store) {
    if let Err(error) = undoable(store, Store::move_batches) {
        tracing::error!(error = &error as &dyn std::error::Error, "message move failed");
        store.next_move_ms = Some(store.now_ms() + MOVE_RETRY_MS);
    }
}

fn commit(
    store: &mut Store,
    group: impl FnOnce(&mut Store) -> Result<(), QueueError>,
) -> Result<(), QueueError> {
    store.connection.prepare_cached("BEGIN")?.execute([])?;
    let result =
        group(store).and_then(|()| Ok(store.connection.prepare_cached("COMMIT")?.execute([])?));
    if result.is_err() && !store.connection.is_autocommit() {
        store.connection.execute_batch("ROLLBACK")?;
    }
    result.map(|_| ())
}

fn undoable<T>(
    store: &mut Store,
    operation: impl FnOnce(&mut Store) -> Result<T, QueueError>,
) -> Result<T, QueueError> {
    store.connection.prepare_cached("SAVEPOINT job")?.execute([])?;
    let result = operation(store);
    if result.is_err() {
        store.connection.prepare_cached("ROLLBACK TO job")?.execute([])?;
    }
    store.connection.prepare_cached("RELEASE job")?.execute([])?;
    result
}
