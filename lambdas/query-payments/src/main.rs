//! The deployed function: see the library.

use function::environment::Process;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    query_payments::run(&Process).await
}
