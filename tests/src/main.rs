//! The tests' own copy of the `cargo local` binary.
//!
//! Tests start every service as a real process of this binary (`CARGO_BIN_EXE_aftercall-tests`), so
//! `cargo test` alone builds what they run.

fn main() -> std::process::ExitCode {
    aftercall_local::main(std::env::args_os())
}
