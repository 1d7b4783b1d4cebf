//! The tests' own copy of the `cargo local` binary.
//!
//! Tests start services as processes of this binary (`CARGO_BIN_EXE_aftercall-tests`), so that `cargo test`
//! builds everything that they run.

fn main() -> std::process::ExitCode {
    aftercall_local::main(std::env::args_os())
}
