//! The pipeline: its parts started in order, each on what is below it, and stopped in the reverse one.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures::future::try_join_all;
use gateway::Options;
use gateway::tokens::{EXPIRES_IN, Issuer, SCOPES};
use queue::Queues;
use ready::{LOG_FILE, Ready};
use runtime::event_source::{Mapping, MappingSettings};
use runtime::{CrashAfter, Function, FunctionSettings, Line, LineSink, LineStream};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::api;
use crate::data_dir::DataDir;
use crate::docs::{self, Docs};
use crate::faults::{self, Faults, Unreliable};
use crate::functions::{self, FUNCTIONS, FunctionEntry, QueueTrigger, Surroundings};
use crate::live::Live;
use crate::servers::{Servers, address_of, listen, port_error};
use crate::settings::Settings;
use crate::table::{PAYMENTS_TABLE, REFUSALS_TABLE, TableError, TableServer};

/// The user whose token is printed.
const DEMO_USER: &str = "5f2c8d34-1b7e-4e0a-8c55-90d1e2f3a4b5";

/// How long a batch under way may take to finish when the pipeline stops.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// A running pipeline.
pub struct Pipeline {
    ready: Ready,
    seed: Option<u64>,
    servers: Servers,
    drawing: JoinHandle<()>,
    mappings: Vec<Mapping>,
    functions: BTreeMap<&'static str, Function>,
    table: TableServer,
    /// Dropped last: until then no other pipeline may use the directory.
    data_dir: DataDir,
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
        let batches = batches(settings)?;
        let data_dir = DataDir::open(data_dir, fresh)?;
        let api_listener = listen(settings.api_port, "--api-port").await?;
        let queue_listener = listen(settings.queue_port, "--queue-port").await?;
        let table = start_table(&data_dir, settings.table_port)?;
        let queue_address = address_of(&queue_listener)?;
        let seed = settings.seed.unwrap_or_else(|| fastrand::u64(..));
        let faults = settings.faults.clone().map(|rates| Arc::new(Faults::new(rates, seed)));
        let queues = open_queues(&data_dir, &queue_address, faults.as_ref())?;
        for (_, queue) in functions::queues() {
            create(&queues, queue, settings).await?;
        }

        let issuer = Issuer::open(data_dir.path())?;
        let ready = Ready {
            api: address_of(&api_listener)?,
            queue: queue_address,
            table: table.base_url(),
            queue_url: queues.url(functions::main_queue().queue),
            dead_letter_queue_url: queues.url(functions::main_queue().dead_letter_queue),
            payments_table: PAYMENTS_TABLE.to_owned(),
            refusals_table: REFUSALS_TABLE.to_owned(),
            user_id: DEMO_USER.to_owned(),
            token: issuer.issue(DEMO_USER, SCOPES, EXPIRES_IN)?,
        };
        let mut servers = Servers::default();
        servers.serve(queue_listener, queues.router());
        let mut edges = Edges::of_flags(&ready, settings);
        if let Some(faults) = &faults {
            let listener = listen(0, "of the faults").await?;
            edges = Edges::with_faults(address_of(&listener)?, faults);
            let proxy = faults::proxy(Arc::clone(faults), &ready.table, &ready.queue)?;
            servers.serve(listener, proxy);
        }
        let sink = log_to(&data_dir.log(), live)?;
        let functions = start_functions(settings, &ready, &edges, &sink).await?;

        let options = Options { rate_limit: settings.rate_limit, ..Options::default() };
        let api = api::router(issuer.verifier(), queues.router(), &functions, options)?;
        let docs = docs::router(Docs { issuer, user: DEMO_USER });
        let main = functions::main_queue();
        let drawing = live.draw(queues.clone(), main.queue, main.dead_letter_queue);
        let start = |(function, settings): (&FunctionEntry, MappingSettings)| {
            let function = functions.get(function.name)?.clone();
            Some(start_mapping(settings, queues.clone(), function, faults.as_ref()))
        };
        let mappings = batches.into_iter().filter_map(start).collect();
        servers.serve(api_listener, docs.fallback_service(live.counting(api)));
        let seed = faults.map(|_| seed);
        ready.write(&data_dir.ready())?;
        Ok(Pipeline { ready, seed, servers, drawing, mappings, functions, table, data_dir })
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
    pub async fn stop(mut self) {
        // Gone already, where somebody tidied up; the next start removes it in any case.
        let _ = std::fs::remove_file(self.data_dir.ready());
        for mapping in self.mappings.drain(..) {
            mapping.stop(STOP_WITHIN).await;
        }
        for (function, _) in functions::queues() {
            if let Some(function) = self.functions.remove(function.name) {
                function.stop(STOP_WITHIN).await;
            }
        }
        self.drawing.abort();
        self.servers.stop().await;
        // No request is left that could need them.
        for function in self.functions.values() {
            function.stop(STOP_WITHIN).await;
        }
        self.table.stop().await;
    }
}

/// How a function reaches the tables and the queues, and when its processes are killed.
struct Edges {
    table: String,
    queue: String,
    crash_after: Option<CrashAfter>,
}

impl Edges {
    /// Straight to the tables and the queues.
    fn straight(ready: &Ready) -> Edges {
        Edges { table: ready.table.clone(), queue: ready.queue.clone(), crash_after: None }
    }

    /// Through the proxies of the flags, where these name some.
    fn of_flags(ready: &Ready, settings: &Settings) -> Edges {
        let table = settings.functions_table_url.as_ref().unwrap_or(&ready.table).clone();
        let queue = settings.functions_queue_url.as_ref().unwrap_or(&ready.queue).clone();
        Edges { table, queue, crash_after: None }
    }

    /// Through the proxy of the faults.
    fn with_faults(proxy: String, faults: &Arc<Faults>) -> Edges {
        let faults = Arc::clone(faults);
        let crash_after: CrashAfter = Arc::new(move || faults.crash_after());
        Edges { table: proxy.clone(), queue: proxy, crash_after: Some(crash_after) }
    }
}

/// Starts all functions at once; `faulty` are the edges of those that meet faults.
async fn start_functions(
    settings: &Settings,
    ready: &Ready,
    faulty: &Edges,
    sink: &LineSink,
) -> anyhow::Result<BTreeMap<&'static str, Function>> {
    let straight = Edges::straight(ready);
    let start = async |function: &FunctionEntry| {
        let Edges { table, queue, crash_after } =
            if function.meets_faults { faulty } else { &straight };
        let variables = (function.variables)(&Surroundings { settings, ready, table, queue });
        let started = Function::start(FunctionSettings {
            name: function.name.to_owned(),
            executable: std::env::current_exe().context("cannot find this program again")?,
            arguments: vec!["function".to_owned(), function.name.to_owned()],
            variables: variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            memory_mb: function.memory_mb,
            timeout: function.timeout,
            environments: usize::from((function.processes)(settings)),
            sink: Arc::clone(sink),
            crash_after: crash_after.clone(),
        });
        anyhow::Ok((function.name, started.await?))
    };
    Ok(try_join_all(FUNCTIONS.iter().map(start)).await?.into_iter().collect())
}

/// The functions behind queues, each with how its queue becomes batches.
fn batches(settings: &Settings) -> anyhow::Result<Vec<(&'static FunctionEntry, MappingSettings)>> {
    functions::queues()
        .map(|(function, queue)| {
            let mapping = (queue.mapping)(queue.queue.to_owned(), settings);
            let mapping =
                mapping.context("--batch-size, --batching-window or --max-concurrency")?;
            Ok((function, mapping))
        })
        .collect()
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

fn start_table(data_dir: &DataDir, port: u16) -> anyhow::Result<TableServer> {
    TableServer::start(&data_dir.tables(), port).map_err(|error| match error {
        TableError::Listen { port, source } => port_error(&source, port, "--table-port"),
        error => error.into(),
    })
}

fn open_queues(
    data_dir: &DataDir,
    address: &str,
    faults: Option<&Arc<Faults>>,
) -> anyhow::Result<Queues> {
    let queues = Queues::open(&data_dir.queues(), address)?;
    Ok(match faults.cloned() {
        None => queues,
        Some(faults) => queues.with_old_handles(move || faults.treats_old_handle_otherwise()),
    })
}

/// Makes sure that a queue and its dead-letter queue exist, as the settings want them.
async fn create(queues: &Queues, queue: &QueueTrigger, settings: &Settings) -> anyhow::Result<()> {
    let seconds = |duration: Duration| duration.as_secs().to_string();
    let dead_letters = [("MessageRetentionPeriod", seconds(queue.dead_letter_retention))];
    queues.create(queue.dead_letter_queue, &dead_letters).await?;
    let redrive = json!({
        "deadLetterTargetArn": queues.arn(queue.dead_letter_queue),
        "maxReceiveCount": (queue.receives_max)(settings),
    });
    let attributes = [
        ("MessageRetentionPeriod", seconds(queue.retention)),
        ("VisibilityTimeout", (queue.visibility_timeout_s)(settings).to_string()),
        ("RedrivePolicy", redrive.to_string()),
    ];
    queues.create(queue.queue, &attributes).await?;
    Ok(())
}

/// Appends every line of the functions to a file. What they write to standard error is shown, too.
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
            LineStream::Output => {}
            LineStream::Error => live.print(&text, std::io::stderr()),
        }
    }))
}
