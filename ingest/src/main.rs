//! The binary of the gateway. All of its code is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Each webhook takes dozens of small allocations. With this allocator the gateway needs less processor time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    aftercall_ingest::main(std::env::args_os())
}
