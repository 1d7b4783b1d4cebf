//! The gateway's binary; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    aftercall_ingest::main(std::env::args_os())
}
