//! The deployed function: see the library.

use function::environment::Process;

/// A record is many small allocations: glibc's allocator took a quarter more processor time for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    submit_payments::run(&Process).await
}
