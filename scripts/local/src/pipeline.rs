//! The pipeline: its parts started in order, each on what is below it, and stopped in the reverse one.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::cli::Settings;
use crate::docs::{self, Docs};
use crate::faults::{self, Faults, Unreliable};
use crate::functions::event_source::{Mapping, MappingSettings};
use crate::functions::{CrashAfter, Function, FunctionSettings, Line, LineSink};
use crate::gateway::{self, Gateway, Invoke, Options};
use crate::live::Live;
use crate::queue::Queues;
use crate::table::{TableNames, TableServer};
use crate::tokens::{EXPIRES_IN, Issuer, SCOPES};

/// The function that stores payments.
pub const SUBMIT: &str = "submit-payments";

/// The function that says what became of them.
pub const QUERY: &str = "query-payments";

/// What the functions write, inside the data directory.
pub const LOG_FILE: &str = "functions.log";

/// Pages from anywhere may use this pipeline.
const ALLOWED_ORIGIN: &str = "*";

const QUEUE: &str = "submit-payment-queue";
const DEAD_LETTER_QUEUE: &str = "submit-payment-dlq";
const PAYMENTS_TABLE: &str = "PaymentsTable";
const REFUSALS_TABLE: &str = "RefusalsTable";

/// The user whose token is printed.
const DEMO_USER: &str = "5f2c8d34-1b7e-4e0a-8c55-90d1e2f3a4b5";

/// What the document calls the function of the queries.
const QUERY_ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:query-payments:live";

/// Processes of the query function: each waiting client takes one for as long as it waits.
const QUERY_ENVIRONMENTS: usize = 4;

/// Time of one query, as deployed: the longest wait and the last reads.
const QUERY_TIMEOUT: Duration = Duration::from_secs(28);

/// The deployed values: an invocation's time, the margin before its end, records in progress at once,
/// and how long the queues keep a message.
const FUNCTION_TIMEOUT: Duration = Duration::from_secs(15);
const DEADLINE_MARGIN_MS: u32 = 3_000;
const CONCURRENCY: u32 = 128;
const RETENTION_SECONDS: u32 = 7 * 24 * 60 * 60;
const DEAD_LETTER_RETENTION_SECONDS: u32 = 14 * 24 * 60 * 60;

/// How long a batch under way may take to finish when the pipeline stops.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Files of the data directory, which a fresh start removes.
const LOCK_FILE: &str = "lock";
const QUEUES_FILE: &str = "queues.sqlite";
const TABLES_FILE: &str = "tables.sqlite";

/// Where everything is, inside the data directory, for as long as the pipeline runs.
const READY_FILE: &str = "ready.json";

/// Where everything is, for whoever waits for the pipeline.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// Base address of the API.
    pub api: String,
    /// Base address of the queues.
    pub queue: String,
    /// Base address of the tables.
    pub table: String,
    /// URL of the main queue.
    pub queue_url: String,
    /// URL of the dead-letter queue.
    pub dead_letter_queue_url: String,
    /// Name of the table of payments.
    pub payments_table: String,
    /// Name of the table of refused and held payments.
    pub refusals_table: String,
    /// The demo user.
    pub user_id: String,
    /// An access token of the demo user.
    pub token: String,
}

/// A running pipeline.
pub struct Pipeline {
    ready: Ready,
    seed: Option<u64>,
    stop_servers: watch::Sender<bool>,
    servers: Vec<JoinHandle<std::io::Result<()>>>,
    drawing: JoinHandle<()>,
    mapping: Mapping,
    function: Function,
    query: Function,
    table: TableServer,
    ready_file: PathBuf,
    _lock: File,
}

impl Pipeline {
    /// Starts everything and returns when everything answers.
    ///
    /// # Errors
    /// A taken port, named by its flag; a data directory that cannot be used or is in use; a part that
    /// does not start.
    pub async fn start(
        data_dir: &Path,
        fresh: bool,
        settings: &Settings,
        live: &Live,
    ) -> anyhow::Result<Pipeline> {
        let mapping = mapping_settings(settings)?;
        let lock = open_data_dir(data_dir, fresh)?;
        let ready_file = data_dir.join(READY_FILE);
        let api_listener = listen(settings.api_port, "--api-port").await?;
        let queue_listener = listen(settings.queue_port, "--queue-port").await?;
        let table = start_table(data_dir, settings.table_port)?;
        let queue_address = address_of(&queue_listener)?;
        let seed = settings.seed.unwrap_or_else(|| fastrand::u64(..));
        let faults = settings.faults.clone().map(|rates| Arc::new(Faults::new(rates, seed)));
        let queues = open_queues(data_dir, &queue_address, faults.as_ref())?;
        create_queues(&queues, settings).await?;

        let issuer = Issuer::open(data_dir)?;
        let ready = Ready {
            api: address_of(&api_listener)?,
            queue: queue_address,
            table: table.base_url(),
            queue_url: queues.url(QUEUE),
            dead_letter_queue_url: queues.url(DEAD_LETTER_QUEUE),
            payments_table: PAYMENTS_TABLE.to_owned(),
            refusals_table: REFUSALS_TABLE.to_owned(),
            user_id: DEMO_USER.to_owned(),
            token: issuer.issue(DEMO_USER, SCOPES, EXPIRES_IN)?,
        };
        let options = Options { rate_limit: settings.rate_limit, ..Options::default() };
        let stop_servers = watch::Sender::new(false);
        let mut servers = vec![serve(queue_listener, queues.router(), &stop_servers)];
        let mut edges = Edges::of(&ready, settings);
        if let Some(faults) = &faults {
            let listener = listen(0, "of the faults").await?;
            edges = Edges::behind(address_of(&listener)?, faults);
            let proxy = faults::proxy(Arc::clone(faults), &ready.table, &ready.queue)?;
            servers.push(serve(listener, proxy, &stop_servers));
        }
        let sink = log_to(&data_dir.join(LOG_FILE), live)?;
        let query = query_settings(settings, &ready, Arc::clone(&sink))?;
        let function = function_settings(settings, &ready, edges, sink)?;
        let (function, query) =
            tokio::try_join!(Function::start(function), Function::start(query))?;
        let functions = [(QUERY_ARN.to_owned(), invoke(&query))].into();
        let (document, verifier) = (document()?, issuer.verifier());
        let gateway = Gateway::new(&document, verifier, queues.router(), &functions, options)?;
        let docs = docs::router(Docs { issuer, user: DEMO_USER });
        let drawing = live.draw(queues.clone(), QUEUE, DEAD_LETTER_QUEUE);
        let mapping = start_mapping(mapping, queues, function.clone(), faults.as_ref());
        let api = docs.fallback_service(live.counting(gateway.router()));
        servers.push(serve(api_listener, api, &stop_servers));
        let seed = faults.map(|_| seed);
        write_ready_file(&ready_file, &ready)?;
        Ok(Pipeline {
            ready,
            seed,
            stop_servers,
            servers,
            drawing,
            mapping,
            function,
            query,
            table,
            ready_file,
            _lock: lock,
        })
    }

    /// Where everything is.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// The seed of the faults, where some were asked for.
    #[must_use]
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// Takes no more requests, finishes what is under way within a bound, and ends the functions.
    pub async fn stop(self) {
        // Gone already, where somebody tidied up; the next start removes it in any case.
        let _ = std::fs::remove_file(&self.ready_file);
        self.mapping.stop(STOP_WITHIN).await;
        self.function.stop(STOP_WITHIN).await;
        self.drawing.abort();
        self.stop_servers.send_replace(true);
        for server in self.servers {
            match server.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a server broke"),
                Err(error) => tracing::error!(%error, "a server broke"),
            }
        }
        self.query.stop(STOP_WITHIN).await;
        self.table.stop().await;
    }
}

/// How the functions reach the table and the queues, and when their processes are killed.
struct Edges {
    table: String,
    queue: String,
    crash_after: Option<CrashAfter>,
}

impl Edges {
    fn of(ready: &Ready, settings: &Settings) -> Edges {
        let table = settings.functions_table_url.as_ref().unwrap_or(&ready.table).clone();
        let queue = settings.functions_queue_url.as_ref().unwrap_or(&ready.queue).clone();
        Edges { table, queue, crash_after: None }
    }

    fn behind(proxy: String, faults: &Arc<Faults>) -> Edges {
        let faults = Arc::clone(faults);
        let crash_after: CrashAfter = Arc::new(move || faults.crash_after());
        Edges { table: proxy.clone(), queue: proxy, crash_after: Some(crash_after) }
    }
}

/// The function as the gateway calls it.
fn invoke(function: &Function) -> Invoke {
    let function = function.clone();
    Arc::new(move |event| {
        let function = function.clone();
        Box::pin(async move { function.invoke(event).await })
    })
}

fn start_mapping(
    settings: MappingSettings,
    queues: Queues,
    function: Function,
    faults: Option<&Arc<Faults>>,
) -> Mapping {
    let invoke = move |event| {
        let function = function.clone();
        async move { function.invoke(event).await }
    };
    match faults {
        None => Mapping::start(settings, queues, invoke),
        Some(faults) => {
            Mapping::start(settings, Unreliable::new(queues, Arc::clone(faults)), invoke)
        }
    }
}

fn mapping_settings(settings: &Settings) -> anyhow::Result<MappingSettings> {
    let window = Duration::from_secs(settings.batching_window);
    let concurrency = usize::from(settings.max_concurrency);
    MappingSettings::new(QUEUE.to_owned(), settings.batch_size, window, concurrency)
        .context("--batch-size, --batching-window or --max-concurrency")
}

/// Writes the file whole or not at all: whoever waits for it may read it as soon as it is there.
///
/// # Errors
/// The file cannot be written.
pub fn write_ready_file(path: &Path, ready: &Ready) -> anyhow::Result<()> {
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, serde_json::to_vec_pretty(ready)?)
        .and_then(|()| std::fs::rename(&unfinished, path))
        .with_context(|| format!("cannot write the ready file {}", path.display()))
}

/// Removes the file, where there is one.
///
/// # Errors
/// The file is there and cannot be removed.
pub fn remove_ready_file(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove the ready file {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Takes the data directory for this process, and empties it when asked to. What a killed pipeline
/// said of its addresses goes in any case. The lock says which process it is, so that somebody can
/// find its functions.
fn open_data_dir(data_dir: &Path, fresh: bool) -> anyhow::Result<File> {
    let attempt = || format!("cannot use --data-dir {}", data_dir.display());
    std::fs::create_dir_all(data_dir).with_context(attempt)?;
    let options = OpenOptions::new().write(true).create(true).truncate(false).to_owned();
    let mut lock = options.open(data_dir.join(LOCK_FILE)).with_context(attempt)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            bail!("--data-dir {} is in use by another pipeline", data_dir.display())
        }
        Err(std::fs::TryLockError::Error(error)) => return Err(error).with_context(attempt),
    }
    // Only now: until here it may have been another pipeline's.
    lock.set_len(0)
        .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()))
        .with_context(attempt)?;
    remove_ready_file(&data_dir.join(READY_FILE))?;
    if fresh {
        for entry in std::fs::read_dir(data_dir).with_context(attempt)? {
            let entry = entry.with_context(attempt)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let ours = [QUEUES_FILE, TABLES_FILE, LOG_FILE, crate::tokens::KEY_FILE];
            // SQLite's own files beside a database begin with its name.
            if ours.iter().any(|file| name.starts_with(file)) {
                std::fs::remove_file(entry.path()).with_context(attempt)?;
            }
        }
    }
    Ok(lock)
}

async fn listen(port: u16, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| port_error(&error, port, flag))
}

fn port_error(error: &std::io::Error, port: u16, flag: &str) -> anyhow::Error {
    match error.kind() {
        ErrorKind::AddrInUse => {
            anyhow::anyhow!(
                "port {port} is taken: choose another one with {flag} (0: any free one)"
            )
        }
        _ => anyhow::anyhow!("cannot listen on port {port} ({flag}): {error}"),
    }
}

fn start_table(data_dir: &Path, port: u16) -> anyhow::Result<TableServer> {
    let names =
        TableNames { payments: PAYMENTS_TABLE.to_owned(), refusals: REFUSALS_TABLE.to_owned() };
    TableServer::start(&data_dir.join(TABLES_FILE), port, &names).map_err(|error| match error {
        crate::table::TableError::Listen { port, source } => {
            port_error(&source, port, "--table-port")
        }
        error => error.into(),
    })
}

fn address_of(listener: &TcpListener) -> anyhow::Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}

fn open_queues(
    data_dir: &Path,
    address: &str,
    faults: Option<&Arc<Faults>>,
) -> anyhow::Result<Queues> {
    let queues = Queues::open(&data_dir.join(QUEUES_FILE), address)?;
    Ok(match faults.cloned() {
        None => queues,
        Some(faults) => queues.with_old_handles(move || faults.treats_old_handle_otherwise()),
    })
}

async fn create_queues(queues: &Queues, settings: &Settings) -> anyhow::Result<()> {
    let dead_letters = [("MessageRetentionPeriod", DEAD_LETTER_RETENTION_SECONDS.to_string())];
    queues.create(DEAD_LETTER_QUEUE, &dead_letters).await?;
    let redrive = json!({
        "deadLetterTargetArn": queues.arn(DEAD_LETTER_QUEUE),
        "maxReceiveCount": settings.max_receive_count,
    });
    let attributes = [
        ("MessageRetentionPeriod", RETENTION_SECONDS.to_string()),
        ("VisibilityTimeout", settings.visibility_timeout.to_string()),
        ("RedrivePolicy", redrive.to_string()),
    ];
    queues.create(QUEUE, &attributes).await?;
    Ok(())
}

/// The document as it would be deployed, with this machine's names in place of the account's.
fn document() -> anyhow::Result<String> {
    let values = [
        ("partition", "aws"),
        ("region", "us-east-1"),
        ("account_id", "000000000000"),
        ("queue_name", QUEUE),
        ("gateway_role_arn", "arn:aws:iam::000000000000:role/local"),
        ("user_pool_arn", "arn:aws:cognito-idp:us-east-1:000000000000:userpool/local"),
        ("query_payments_arn", QUERY_ARN),
        ("allowed_origin", ALLOWED_ORIGIN),
    ];
    Ok(schema::document::render(schema::document::TEXT, &values)?)
}

fn function_settings(
    settings: &Settings,
    ready: &Ready,
    edges: Edges,
    sink: LineSink,
) -> anyhow::Result<FunctionSettings> {
    let variables = [
        ("REMIT_PAYMENTS_TABLE", ready.payments_table.clone()),
        ("REMIT_REFUSALS_TABLE", ready.refusals_table.clone()),
        ("REMIT_QUEUE_URL", ready.queue_url.clone()),
        ("REMIT_DEAD_LETTER_QUEUE_URL", ready.dead_letter_queue_url.clone()),
        ("REMIT_RECEIVE_COUNT_MAX", settings.max_receive_count.to_string()),
        ("REMIT_RETRY_DELAY_SECONDS", settings.retry_delay.to_string()),
        ("REMIT_CONCURRENCY", CONCURRENCY.to_string()),
        ("REMIT_DEADLINE_MARGIN_MS", DEADLINE_MARGIN_MS.to_string()),
        ("AWS_ENDPOINT_URL_SQS", edges.queue),
        ("AWS_ENDPOINT_URL_DYNAMODB", edges.table),
    ];
    Ok(FunctionSettings {
        name: SUBMIT.to_owned(),
        executable: std::env::current_exe().context("cannot find this program again")?,
        arguments: vec!["function".to_owned(), SUBMIT.to_owned()],
        variables: variables.map(|(name, value)| (name.to_owned(), value)).into(),
        memory_mb: 1_769,
        timeout: FUNCTION_TIMEOUT,
        environments: usize::from(settings.max_concurrency),
        sink,
        crash_after: edges.crash_after,
    })
}

/// The query function, which no fault touches: it only reads.
fn query_settings(
    settings: &Settings,
    ready: &Ready,
    sink: LineSink,
) -> anyhow::Result<FunctionSettings> {
    // Good until the pipeline stops, and so are the cursors.
    let cursor_key = format!("{}{}", Uuid::new_v4(), Uuid::new_v4());
    let variables = [
        ("REMIT_PAYMENTS_TABLE", ready.payments_table.clone()),
        ("REMIT_REFUSALS_TABLE", ready.refusals_table.clone()),
        ("REMIT_CURSOR_KEY", cursor_key),
        ("REMIT_ALLOWED_ORIGIN", ALLOWED_ORIGIN.to_owned()),
        ("REMIT_BATCH_WINDOW_SECONDS", settings.batching_window.to_string()),
        ("AWS_ENDPOINT_URL_DYNAMODB", ready.table.clone()),
    ];
    Ok(FunctionSettings {
        name: QUERY.to_owned(),
        executable: std::env::current_exe().context("cannot find this program again")?,
        arguments: vec!["function".to_owned(), QUERY.to_owned()],
        variables: variables.map(|(name, value)| (name.to_owned(), value)).into(),
        memory_mb: 512,
        timeout: QUERY_TIMEOUT,
        environments: QUERY_ENVIRONMENTS,
        sink,
        crash_after: None,
    })
}

/// Appends every line of the functions to a file; what they write to standard error is shown, too.
fn log_to(path: &Path, live: &Live) -> anyhow::Result<LineSink> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file = Mutex::new(file.with_context(|| format!("cannot write {}", path.display()))?);
    let live = live.clone();
    Ok(Arc::new(move |line: Line| {
        live.observe(&line.text);
        let text = line.text + "\n";
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not stop payments.
        if let Err(error) = file.write_all(text.as_bytes()) {
            tracing::error!(%error, "the functions' lines cannot be written to {LOG_FILE}");
        }
        match line.stream {
            crate::functions::LineStream::Output => {}
            crate::functions::LineStream::Error => live.print(&text, std::io::stderr()),
        }
    }))
}

fn serve(
    listener: TcpListener,
    router: axum::Router,
    stop: &watch::Sender<bool>,
) -> JoinHandle<std::io::Result<()>> {
    let mut stop = stop.subscribe();
    tokio::spawn(async move {
        gateway::serve(listener, router, async move {
            // An error means that the pipeline was dropped: the same wish.
            let _ = stop.wait_for(|stop| *stop).await;
        })
        .await
    })
}
