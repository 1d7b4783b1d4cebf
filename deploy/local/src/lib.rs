//! `cargo local`: runs all of Aftercall on one machine, for trying out. Tests and `cargo lab` use its parts.
//!
//! The binary contains every program of Aftercall. Packages install it as `aftercall`, and then the command is
//! `aftercall local`. `up` starts the gateway, the worker and the
//! simulated ElevenLabs API as processes of its own executable, and finds nats-server and mongod by
//! [`servers`]. Each process runs under a `guard`, which stops it when `up` ends, even by SIGKILL.
//!
//! - [`process`] starts programs; [`nats`] and [`mongod`] start servers; [`ports`] finds free ports.
//! - [`simulator`] simulates the APIs of ElevenLabs and Twilio, with faults.
//! - [`send`] generates calls, posts their webhooks, and checks the documents.

use std::{ffi::OsString, process::ExitCode};

pub mod caller;
mod cli;
mod client;
mod config;
pub mod data_folder;
mod download;
mod guard;
pub mod mongod;
pub mod nats;
pub mod ports;
pub mod process;
mod programs;
pub mod progress;
mod reset;
pub mod running;
pub mod send;
pub mod server;
pub mod servers;
pub mod simulator;
mod up;

pub use client::{OPEN_GATEWAY, http_client, http_client_builder};

/// Runs the part of Aftercall or the command of `cargo local` that `args` name.
///
/// The first argument is the executable, as in `std::env::args_os`.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    run_part(&args).unwrap_or_else(|| cli::main(args))
}

/// Runs the gateway, the worker, the simulated API or the guard if `args` name one of them. `None`: they name
/// none.
///
/// A [`process::Launcher`] starts these parts, so its executable has to call this function.
pub fn run_part(args: &[OsString]) -> Option<ExitCode> {
    let arguments = |program: &str| std::iter::once(program.into()).chain(args[2..].iter().cloned());
    match args.get(1)?.to_str()? {
        "gateway" => Some(aftercall_ingest::main(arguments("aftercall-ingest"))),
        "worker" => Some(aftercall_worker::main(arguments("aftercall-worker"))),
        "simulator" => Some(cli::simulator(arguments("simulator"))),
        "guard" => Some(guard::main(arguments("guard"))),
        _ => None,
    }
}
