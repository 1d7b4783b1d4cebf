//! `cargo lab`: see [`aftercall_lab`].

use mimalloc::MiMalloc;

/// The allocator of the shipped binaries, so that benchmarks measure the same processes.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> std::process::ExitCode {
    aftercall_lab::main(std::env::args_os())
}
