//! The functions of the pipeline: everything that is particular to one of them, in one table.
//!
//! **A new function** is one entry of [`FUNCTIONS`]. One behind a queue brings that queue with it; one
//! behind a route needs the route in the OpenAPI document and nothing else here.
//!
//! Where a value repeats one of Terraform's variables, the test below says which, and compares them.

use std::time::Duration;

use function::environment::Process;
use futures::future::LocalBoxFuture;
use ready::Ready;
use runtime::event_source::{InvalidMapping, MappingSettings};
use uuid::Uuid;

use crate::settings::{ALLOWED_ORIGIN, Settings};

/// The function that stores payments.
pub const SUBMIT: &str = "submit-payments";

/// All functions.
pub const FUNCTIONS: &[FunctionEntry] = &[
    FunctionEntry {
        name: SUBMIT,
        run: || Box::pin(submit_payments::run(&Process)),
        variables: |surroundings| {
            let Surroundings { settings, ready, table, queue } = surroundings;
            vec![
                ("REMIT_PAYMENTS_TABLE", ready.payments_table.clone()),
                ("REMIT_REFUSALS_TABLE", ready.refusals_table.clone()),
                ("REMIT_QUEUE_URL", ready.queue_url.clone()),
                ("REMIT_DEAD_LETTER_QUEUE_URL", ready.dead_letter_queue_url.clone()),
                ("REMIT_RECEIVE_COUNT_MAX", settings.max_receive_count.to_string()),
                ("REMIT_RETRY_DELAY_SECONDS", settings.retry_delay.to_string()),
                ("REMIT_CONCURRENCY", "128".to_owned()),
                ("REMIT_DEADLINE_MARGIN_MS", "3000".to_owned()),
                ("AWS_ENDPOINT_URL_SQS", (*queue).to_owned()),
                ("AWS_ENDPOINT_URL_DYNAMODB", (*table).to_owned()),
            ]
        },
        timeout: Duration::from_secs(15),
        memory_mb: 1_769,
        processes: |settings| settings.max_concurrency,
        trigger: Trigger::Queue(&QueueTrigger {
            queue: "submit-payment-queue",
            dead_letter_queue: "submit-payment-dlq",
            placeholder: Some("queue_name"),
            retention: Duration::from_secs(7 * 24 * 60 * 60),
            dead_letter_retention: Duration::from_secs(14 * 24 * 60 * 60),
            visibility_timeout_s: |settings| settings.visibility_timeout,
            receives_max: |settings| settings.max_receive_count,
            mapping: |queue, settings| {
                MappingSettings::new(
                    queue,
                    settings.batch_size,
                    Duration::from_secs(settings.batching_window),
                    usize::from(settings.max_concurrency),
                )
            },
        }),
        meets_faults: true,
    },
    FunctionEntry {
        name: "query-payments",
        run: || Box::pin(query_payments::run(&Process)),
        variables: |surroundings| {
            let Surroundings { settings, ready, table, queue: _ } = surroundings;
            vec![
                ("REMIT_PAYMENTS_TABLE", ready.payments_table.clone()),
                ("REMIT_REFUSALS_TABLE", ready.refusals_table.clone()),
                // A new key at each start: cursors are good until the pipeline stops.
                ("REMIT_CURSOR_KEY", format!("{}{}", Uuid::new_v4(), Uuid::new_v4())),
                ("REMIT_ALLOWED_ORIGIN", ALLOWED_ORIGIN.to_owned()),
                ("REMIT_BATCH_WINDOW_SECONDS", settings.batching_window.to_string()),
                ("AWS_ENDPOINT_URL_DYNAMODB", (*table).to_owned()),
            ]
        },
        // The longest wait that a client may ask for, and the last reads.
        timeout: Duration::from_secs(28),
        memory_mb: 512,
        // A client that waits takes one for as long as it waits.
        processes: |_| 4,
        trigger: Trigger::Route { placeholder: "query_payments_arn" },
        // It only reads, so there is nothing for a fault to break.
        meets_faults: false,
    },
];

/// A function, and how it is run.
pub struct FunctionEntry {
    /// The function's name. With the arguments `function NAME` this program becomes the function.
    pub name: &'static str,
    /// Runs the function in this process, for as long as there is a Runtime API.
    pub run: fn() -> LocalBoxFuture<'static, anyhow::Result<()>>,
    /// Its environment variables.
    pub variables: fn(&Surroundings<'_>) -> Vec<(&'static str, String)>,
    /// The time that one invocation has.
    pub timeout: Duration,
    /// What it is told about its memory, in MB.
    pub memory_mb: u32,
    /// How many processes it has, each with one invocation at a time.
    pub processes: fn(&Settings) -> u16,
    /// What invokes it.
    pub trigger: Trigger,
    /// Whether its calls and processes meet what goes wrong with `--faults`, and its calls go to
    /// `--functions-table-url` and `--functions-queue-url`.
    pub meets_faults: bool,
}

/// What a function's variables are made of.
pub struct Surroundings<'a> {
    /// What the pipeline was told.
    pub settings: &'a Settings,
    /// Names and URLs.
    pub ready: &'a Ready,
    /// Where the function finds the tables.
    pub table: &'a str,
    /// Where the function finds the queues.
    pub queue: &'a str,
}

/// What invokes a function.
pub enum Trigger {
    /// An event source mapping, with batches of messages.
    Queue(&'static QueueTrigger),
    /// The gateway, with requests. The document names the function's ARN by this placeholder.
    Route {
        /// The placeholder.
        placeholder: &'static str,
    },
}

/// A queue with its dead-letter queue, and the mapping of it to its function.
pub struct QueueTrigger {
    /// Name of the queue.
    pub queue: &'static str,
    /// Name of its dead-letter queue.
    pub dead_letter_queue: &'static str,
    /// The document's placeholder for the queue's name, where the gateway sends to the queue.
    pub placeholder: Option<&'static str>,
    /// How long the queue keeps a message.
    pub retention: Duration,
    /// How long the dead-letter queue keeps a message, counted from when it was first sent.
    pub dead_letter_retention: Duration,
    /// How long a received message stays hidden, in seconds.
    pub visibility_timeout_s: fn(&Settings) -> u32,
    /// Deliveries after which a message goes to the dead-letter queue.
    pub receives_max: fn(&Settings) -> u32,
    /// How the queue of this name becomes batches.
    pub mapping: fn(String, &Settings) -> Result<MappingSettings, InvalidMapping>,
}

impl FunctionEntry {
    /// What the document calls the function: the ARN of its alias.
    #[must_use]
    pub fn arn(&self) -> String {
        format!("arn:aws:lambda:us-east-1:000000000000:function:{}:live", self.name)
    }
}

/// The queue of [`SUBMIT`].
#[must_use]
pub fn main_queue() -> &'static QueueTrigger {
    let mut queues = queues().filter(|(function, _)| function.name == SUBMIT);
    queues.next().map(|(_, queue)| queue).expect("the table has it")
}

/// The functions behind queues, each with its queue.
pub fn queues() -> impl Iterator<Item = (&'static FunctionEntry, &'static QueueTrigger)> {
    FUNCTIONS.iter().filter_map(|function| match &function.trigger {
        Trigger::Queue(queue) => Some((function, *queue)),
        Trigger::Route { .. } => None,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    const VARIABLES: &str = include_str!("../../../infra/variables.tf");
    const FUNCTIONS_TF: &str = include_str!("../../../infra/functions.tf");

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        settings: Settings,
    }

    fn entry(name: &str) -> &'static FunctionEntry {
        FUNCTIONS.iter().find(|function| function.name == name).expect(name)
    }

    /// The number that a function's environment variable holds when no flag is given.
    fn number(function: &FunctionEntry, variable: &str) -> u64 {
        let Flags { settings } = Flags::parse_from(["local"]);
        let text = || "x".to_owned();
        let ready = Ready {
            api: text(),
            queue: text(),
            table: text(),
            queue_url: text(),
            dead_letter_queue_url: text(),
            payments_table: text(),
            refusals_table: text(),
            user_id: text(),
            token: text(),
        };
        let surroundings =
            Surroundings { settings: &settings, ready: &ready, table: "x", queue: "x" };
        let variables = (function.variables)(&surroundings);
        let found = variables.into_iter().find(|(name, _)| *name == variable).expect(variable);
        found.1.parse().expect("a number")
    }

    /// The default of a variable of Terraform: a number or a product of numbers.
    fn default_of(variable: &str) -> u64 {
        let start = format!("variable \"{variable}\" {{");
        let (_, block) = VARIABLES.split_once(&start).expect(variable);
        let (block, _) = block.split_once("\n}").expect("a block ends");
        let default = block.lines().find_map(|line| line.trim().strip_prefix("default"));
        let (_, value) = default.expect("a default").split_once('=').expect("a value");
        value.split('*').map(|factor| factor.trim().parse::<u64>().expect("a number")).product()
    }

    #[test]
    fn what_repeats_a_variable_of_terraform_has_its_value() {
        let (submit, query, queue) = (entry(SUBMIT), entry("query-payments"), main_queue());
        let repeated = [
            ("submit_payments_timeout_seconds", submit.timeout.as_secs()),
            ("submit_payments_memory_megabytes", u64::from(submit.memory_mb)),
            ("submit_payments_deadline_margin_ms", number(submit, "REMIT_DEADLINE_MARGIN_MS")),
            ("submit_payments_record_concurrency", number(submit, "REMIT_CONCURRENCY")),
            ("submit_payment_queue_receive_count_max", number(submit, "REMIT_RECEIVE_COUNT_MAX")),
            ("query_payments_memory_megabytes", u64::from(query.memory_mb)),
            ("submit_payment_queue_retention_seconds", queue.retention.as_secs()),
            ("submit_payment_dlq_retention_seconds", queue.dead_letter_retention.as_secs()),
        ];
        for (variable, here) in repeated {
            assert_eq!(here, default_of(variable), "{variable}");
        }
        // The only timeout that Terraform has as a number and not as a variable is that of the queries.
        let numbers = FUNCTIONS_TF.lines().filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            value.trim().parse().ok().filter(|_: &u64| name.trim() == "timeout_seconds")
        });
        assert_eq!(numbers.collect::<Vec<_>>(), [query.timeout.as_secs()]);
    }
}
