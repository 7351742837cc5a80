//! `cargo local`: see the library.

fn main() -> std::process::ExitCode {
    local::main(std::env::args_os())
}
