//! The worker process.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// An event takes dozens of small allocations, which one thread makes and another frees.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    aftercall_worker::main(std::env::args_os())
}
