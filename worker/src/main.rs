//! The worker process.

use std::process::ExitCode;

fn main() -> ExitCode {
    aftercall_worker::main(std::env::args_os())
}
