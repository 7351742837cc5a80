//! End to end: stories over the real pipeline with its real function processes.
//!
//! - [`stack`]: the language that the stories are told in.
//! - [`proxy`]: the bad network that one of them needs.
//! - [`stories::submission`]: what a client sees.
//! - [`stories::query`]: what a client is told afterwards, and nobody else.
//! - [`client`], [`stories::example`]: a client that does everything as it should.
//! - [`stories::failure`]: what an operator sees.
//! - [`stories::fairness`]: what one user's flood does to another user's payment.
//! - [`stories::network`]: what survives a bad network.
//! - [`stories::workbench`]: what an operator does about it, with `cargo dlq`.
//! - [`stories::restart`]: what survives when processes are killed.
//! - [`stories::command`]: what `cargo local` promises to whoever starts it.
//!
//! Every story has a pipeline of its own, started as a child of this very binary in another role, with
//! ports and a data directory of its own; so stories run side by side. None waits for time to pass:
//! each waits, within a bound, for what it expects.

#![expect(clippy::unwrap_used, reason = "a story may stop at whatever it does not expect")]

mod client;
mod proxy;
mod stack;
mod stories;

use std::future::Future;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// The role in which this binary is the pipeline: the first argument.
const PIPELINE: &str = bench::pipeline::ROLE;

/// The role in which this binary is the operator's tool.
const OPS: &str = "as-ops";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap();
    match std::env::args().nth(1).as_deref() {
        Some(PIPELINE) => local::main(std::iter::once(program).chain(arguments.skip(1))),
        Some(OPS) => ops::main(std::iter::once(program).chain(arguments.skip(1))),
        // The pipeline starts its functions as this binary, too.
        Some("function") => local::main(std::iter::once(program).chain(arguments)),
        _ => libtest_mimic::run(&Arguments::from_args(), stories::all()).exit_code(),
    }
}

/// A story as a test, on a runtime of its own.
fn trial<F: Future<Output = ()> + Send>(
    name: &str,
    story: impl FnOnce() -> F + Send + 'static,
) -> Trial {
    let name = name.trim_start_matches("stories::stories::").to_owned();
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(story());
        Ok(())
    })
}
