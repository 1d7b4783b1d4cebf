//! `cargo lab`: experiments with real gateways, workers, brokers and databases.
//!
//! - [`chaos`] injects every fault of the fault matrix under load, then compares the stored documents with
//!   the webhooks that the gateways have answered with 200.
//! - [`rolling`] replaces every gateway and every worker under load, and counts requests that fail.
//! - `bench` measures throughput and latency, next to a naive implementation and to the limits of broker and
//!   database.
//! - [`disk`] is a file system that loses unsynced data on command, as a power cut does.
//! - [`link`] is a TCP proxy that delays, cuts or resets connections.
//!
//! The crate `aftercall_local` starts the servers and processes. `aftercall-tests` runs short forms of
//! `chaos` and `rolling`.

use std::{ffi::OsString, process::ExitCode};

mod bench;
pub mod chaos;
mod cli;
pub mod disk;
pub mod link;
pub mod rolling;

/// Runs the part of Aftercall (`gateway`, `worker`, `guard`) or the command of `cargo lab` that `args` name.
///
/// The first argument is the executable, as in `std::env::args_os`. An experiment starts gateways and workers
/// as processes of its own executable, so this binary has to be able to run them.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    aftercall_local::run_part(&args).unwrap_or_else(|| cli::main(args))
}
