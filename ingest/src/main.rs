//! The gateway's binary; everything it does is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A webhook is dozens of small allocations, made on one thread and freed on another.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    aftercall_ingest::main(std::env::args_os())
}
