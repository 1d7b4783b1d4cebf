//! `cargo local`: see [`aftercall_local`].

use mimalloc::MiMalloc;

/// The allocator of the shipped binaries.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> std::process::ExitCode {
    aftercall_local::main(std::env::args_os())
}
