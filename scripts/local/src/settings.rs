//! What a pipeline can be told, as flags of the command line.

use std::num::NonZeroU32;

use clap::Args;

use crate::faults::Rates;

/// The web origin whose pages may use a pipeline: any. There is no flag for it.
pub const ALLOWED_ORIGIN: &str = "*";

/// What a pipeline can be told.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Port of the API (0: any free one).
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub api_port: u16,

    /// Port of the queue, for SQS clients (0: any free one).
    #[arg(long, value_name = "PORT", default_value_t = 9324)]
    pub queue_port: u16,

    /// Port of the tables, for DynamoDB clients (0: any free one).
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub table_port: u16,

    /// Messages of a batch at the most; over 10 needs a batching window.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub batch_size: usize,

    /// Seconds to gather a batch (0: take what is there).
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub batching_window: u64,

    /// Seconds until a message that nobody acknowledged is delivered again.
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..=43_200))]
    pub visibility_timeout: u32,

    /// Seconds before the first retry of a payment that failed for a passing reason.
    #[arg(long, value_name = "SECONDS", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(0..=900))]
    pub retry_delay: u32,

    /// Deliveries after which a message goes to the dead-letter queue.
    #[arg(long, value_name = "COUNT", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_receive_count: u32,

    /// Function processes, each with one batch at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(1..=100))]
    pub max_concurrency: u16,

    /// Requests per second that the API lets through; the others are answered 429 [default: all].
    #[arg(long, value_name = "COUNT")]
    pub rate_limit: Option<NonZeroU32>,

    /// Faults to inject and how often, from 0 to 1: any of duplicate, delay, throttle, lost-reply,
    /// crash, dlq and old-handle, as in duplicate=0.1,crash=0.01.
    #[arg(long, value_name = "NAME=RATE,…")]
    pub faults: Option<Rates>,

    /// Where the functions find the tables, in place of the tables themselves: a proxy.
    #[arg(long, value_name = "URL", hide = true)]
    pub functions_table_url: Option<String>,

    /// Where the functions find the queues, in place of the queues themselves: a proxy.
    #[arg(long, value_name = "URL", hide = true)]
    pub functions_queue_url: Option<String>,

    /// Seed of the faults [default: a new one, which is printed].
    #[arg(long, value_name = "NUMBER", requires = "faults")]
    pub seed: Option<u64>,
}
