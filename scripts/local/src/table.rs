//! The tables: DynamoDB's protocol on a SQLite file, on a port of its own.
//!
//! A call of SQLite blocks its thread, so the server has a thread and a runtime to itself. A write is
//! answered when the operating system has it, so it survives kill -9 of this process.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use dynoxide::{Database, DynoxideError};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

/// How often expired items are deleted. DynamoDB itself only promises to do it within days.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How long requests under way may take to finish when the server stops.
const STOP_MAX: Duration = Duration::from_secs(5);

/// The table of stored payments.
pub const PAYMENTS_TABLE: &str = "PaymentsTable";
/// The table of refused and held submissions.
pub const REFUSALS_TABLE: &str = "RefusalsTable";

/// Why the tables cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The port cannot be listened on; of kind `AddrInUse` when it is taken.
    #[error("cannot listen on port {port}")]
    Listen {
        /// The port that was asked for.
        port: u16,
        /// The reason.
        source: io::Error,
    },
    /// The file cannot be opened, or is no database.
    #[error("cannot open the tables in {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: DynoxideError,
    },
    /// A table cannot be created.
    #[error("cannot create table {table}")]
    Create {
        /// The table's name.
        table: String,
        /// The reason.
        source: DynoxideError,
    },
    /// There is no thread or runtime to serve on.
    #[error("cannot start the thread of the tables")]
    Thread(#[source] io::Error),
}

impl TableError {
    /// Whether another program listens on the port.
    pub fn is_port_taken(&self) -> bool {
        match self {
            Self::Listen { source, .. } => source.kind() == io::ErrorKind::AddrInUse,
            Self::Open { .. } | Self::Create { .. } | Self::Thread(_) => false,
        }
    }
}

/// A running table server. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct TableServer {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
}

impl TableServer {
    /// Serves the tables of `file` on this port of 127.0.0.1 (0: any free one), and creates the
    /// file and the tables that are missing. A table that is there stays as it is.
    ///
    /// # Errors
    /// [`TableError`]; nothing is left running.
    pub fn start(file: &Path, port: u16) -> Result<Self, TableError> {
        let listen = |source| TableError::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;

        let open = |source| TableError::Open { path: file.to_owned(), source };
        let not_utf8 = || DynoxideError::ValidationException("the path is not UTF-8".to_owned());
        let path = file.to_str().ok_or_else(not_utf8).map_err(open)?;
        let database = Database::new(path).map_err(open)?;
        // This sets SQLite's `synchronous` to NORMAL, as for the queue: a write survives kill -9 of this
        // process. Only a power failure could undo the last writes. FULL, with an fsync for each put, has a
        // tenth of the throughput.
        database.disable_bulk_loading().map_err(open)?;
        create_missing(&database)?;

        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(TableError::Thread)?;
        let (stop, stop_asked) = oneshot::channel();
        let (done, stopped) = oneshot::channel();
        thread::Builder::new()
            .name("tables".to_owned())
            .spawn(move || {
                runtime.block_on(serve(listener, database, stop_asked));
                // Closes the connections that did not finish in time.
                runtime.shutdown_timeout(STOP_MAX);
                // Nobody may be waiting.
                let _ = done.send(());
            })
            .map_err(TableError::Thread)?;
        Ok(Self { address, stop, stopped })
    }

    /// Where the SDK finds the tables.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Finishes the requests under way within a bound, and closes the file.
    pub async fn stop(self) {
        // Both fail only when the server has ended already.
        let _ = self.stop.send(());
        let _ = self.stopped.await;
    }
}

async fn serve(listener: TcpListener, database: Database, stop: oneshot::Receiver<()>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot serve the tables");
            return;
        }
    };
    let sweeper = tokio::spawn(sweep(database.clone()));
    let (stopping, stopped) = oneshot::channel();
    let asked = async {
        // An error means that the server was dropped, which is a stop, too.
        let _ = stop.await;
        let _ = stopping.send(());
    };
    let give_up = async {
        let _ = stopped.await;
        tokio::time::sleep(STOP_MAX).await;
    };
    tokio::select! {
        served = dynoxide::server::serve_with_shutdown(listener, database, asked) => {
            if let Err(error) = served {
                tracing::error!(error, "the table server stopped");
            }
        }
        () = give_up => tracing::warn!("requests to the tables were given up"),
    }
    sweeper.abort();
}

/// Deletes expired items; the database never does it by itself.
async fn sweep(database: Database) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let database = database.clone();
        let swept = tokio::task::spawn_blocking(move || database.sweep_ttl()).await;
        match swept {
            Ok(Ok(deleted)) => tracing::debug!(deleted, "expired items are deleted"),
            Ok(Err(error)) => tracing::error!(%error, "cannot delete expired items"),
            Err(error) => tracing::error!(%error, "the deletion of expired items broke"),
        }
    }
}

fn create_missing(database: &Database) -> Result<(), TableError> {
    let payments = json!({
        "TableName": PAYMENTS_TABLE,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [string("paymentId"), string("userId"), string("_acceptedAt")],
        "KeySchema": keys("paymentId", "userId"),
        "GlobalSecondaryIndexes": [{
            "IndexName": "byUser",
            "KeySchema": keys("userId", "_acceptedAt"),
            "Projection": { "ProjectionType": "KEYS_ONLY" },
        }],
    });
    create(database, PAYMENTS_TABLE, payments, None)?;

    let refusals = json!({
        "TableName": REFUSALS_TABLE,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            string("userId"), string("paymentId#requestId"), string("recordedAt"), string("heldAt"),
        ],
        "KeySchema": keys("userId", "paymentId#requestId"),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "byUser",
                "KeySchema": keys("userId", "recordedAt"),
                "Projection": without_body("heldAt"),
            },
            {
                "IndexName": "held",
                "KeySchema": keys("userId", "heldAt"),
                "Projection": without_body("recordedAt"),
            },
        ],
    });
    create(database, REFUSALS_TABLE, refusals, Some("expiresAt"))
}

/// Everything of a record but its body; `time` is the time that is not the index's key.
fn without_body(time: &str) -> serde_json::Value {
    json!({
        "ProjectionType": "INCLUDE",
        "NonKeyAttributes": [
            "kind", "reason", "message", "fields", "bodyMd5", "paymentId", "requestId", "messageId",
            "acceptedAt", "expiresAt", time,
        ],
    })
}

fn string(attribute: &str) -> serde_json::Value {
    json!({ "AttributeName": attribute, "AttributeType": "S" })
}

fn keys(hash: &str, range: &str) -> serde_json::Value {
    json!([
        { "AttributeName": hash, "KeyType": "HASH" },
        { "AttributeName": range, "KeyType": "RANGE" },
    ])
}

/// Creates a table and its expiry, each when it is missing: a crash may have come between them.
fn create(
    database: &Database,
    table: &str,
    definition: serde_json::Value,
    expiry: Option<&str>,
) -> Result<(), TableError> {
    let failed = |source| TableError::Create { table: table.to_owned(), source };
    let unreadable =
        |error: serde_json::Error| failed(DynoxideError::ValidationException(error.to_string()));
    let existing = database.get_table_metadata(table).map_err(failed)?;
    let expires = existing.as_ref().is_some_and(|existing| existing.ttl_enabled);
    if existing.is_none() {
        let request = serde_json::from_value(definition).map_err(unreadable)?;
        database.create_table(request).map_err(failed)?;
    }
    if let Some(attribute) = expiry.filter(|_| !expires) {
        let request = serde_json::from_value(json!({
            "TableName": table,
            "TimeToLiveSpecification": { "AttributeName": attribute, "Enabled": true },
        }));
        database.update_time_to_live(request.map_err(unreadable)?).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::Client;
    use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
    use aws_sdk_dynamodb::error::ProvideErrorMetadata;
    use aws_sdk_dynamodb::types::AttributeValue;

    use super::*;

    fn client(server: &TableServer) -> Client {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "local"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(server.base_url())
            .build();
        Client::from_conf(config)
    }

    fn text(value: &str) -> AttributeValue {
        AttributeValue::S(value.to_owned())
    }

    async fn put(client: &Client, id: &str) -> Result<(), String> {
        let put = client
            .put_item()
            .table_name("PaymentsTable")
            .item("paymentId", text(id))
            .item("userId", text("u"))
            .item("_acceptedAt", text("2026-11-20T00:00:00.000Z"))
            .condition_expression("attribute_not_exists(paymentId)");
        let put = put.send().await.map_err(|error| error.code().unwrap_or_default().to_owned());
        put.map(|_| ())
    }

    #[tokio::test]
    async fn items_survive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tables.sqlite");
        let server = TableServer::start(&file, 0).unwrap();
        assert_eq!(put(&client(&server), "a").await, Ok(()));
        server.stop().await;

        let server = TableServer::start(&file, 0).unwrap();
        let conflict = Err("ConditionalCheckFailedException".to_owned());
        assert_eq!(put(&client(&server), "a").await, conflict);
        let query = client(&server).query().table_name("PaymentsTable").index_name("byUser");
        let query = query.key_condition_expression("userId = :user");
        let found = query.expression_attribute_values(":user", text("u")).send().await.unwrap();
        assert_eq!(found.items()[0]["paymentId"], text("a"));
        server.stop().await;
    }

    #[tokio::test]
    async fn expired_refusals_are_swept() {
        let database = Database::memory().unwrap();
        create_missing(&database).unwrap();
        create_missing(&database).unwrap();
        for (id, expires_at) in [("old", "1"), ("new", "99999999999")] {
            let put = json!({ "TableName": "RefusalsTable", "Item": {
                "userId": { "S": "u" },
                "paymentId#requestId": { "S": id },
                "recordedAt": { "S": "2026-11-20T00:00:00.000Z" },
                "expiresAt": { "N": expires_at },
            }});
            database.put_item(serde_json::from_value(put).unwrap()).unwrap();
        }
        assert_eq!(database.sweep_ttl().unwrap(), 1);
    }

    #[tokio::test]
    async fn taken_port_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = TableServer::start(&directory.path().join("t"), port).unwrap_err();
        assert!(error.is_port_taken(), "{error}");
        let missing = directory.path().join("missing/t");
        let error = TableServer::start(&missing, 0).unwrap_err();
        assert!(!error.is_port_taken(), "{error}");
    }

    #[tokio::test]
    async fn stop_is_not_held_up_by_an_idle_client() {
        let directory = tempfile::tempdir().unwrap();
        let server = TableServer::start(&directory.path().join("t"), 0).unwrap();
        let client = client(&server);
        assert_eq!(put(&client, "a").await, Ok(()));
        tokio::time::timeout(STOP_MAX, server.stop()).await.expect("it stops at once");
        assert!(put(&client, "b").await.is_err());
    }
}
