//! `cargo load`: see the library.

/// The pipeline's too: this program is started again as one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    bench::main()
}
