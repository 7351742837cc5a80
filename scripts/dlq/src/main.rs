//! `cargo dlq`: see the library.

fn main() -> std::process::ExitCode {
    dlq::main(std::env::args_os())
}
