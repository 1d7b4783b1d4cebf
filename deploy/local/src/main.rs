//! `cargo local`: see [`aftercall_local`].

use mimalloc::MiMalloc;

/// A webhook is dozens of small allocations, made on one thread and freed on another.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> std::process::ExitCode {
    aftercall_local::main(std::env::args_os())
}
