//! `cargo ops`: see the library.

fn main() -> std::process::ExitCode {
    ops::main(std::env::args_os())
}
