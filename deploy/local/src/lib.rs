//! The whole of Aftercall on one machine: `cargo local`, and the servers the tests run against.
//!
//! One binary plays every part. `cargo local up` starts the gateway, the worker and the simulated
//! ElevenLabs API as processes of its own executable, nats-server and mongod from wherever
//! [`servers`] finds them, and every one of them under a `guard`, so that nothing outlives `up`
//! however it ends. The tests use the same pieces: [`process`], [`nats`], [`mongod`], [`simulator`],
//! [`chaos`], [`disk`], [`rolling`].

use std::{ffi::OsString, process::ExitCode};

mod bench;
pub mod chaos;
mod cli;
mod client;
mod config;
pub mod disk;
mod download;
mod guard;
pub mod mongod;
pub mod nats;
pub mod ports;
pub mod process;
mod progress;
mod reset;
pub mod rolling;
mod running;
mod send;
pub mod server;
pub mod servers;
pub mod simulator;
mod up;

pub use client::{http_client, http_client_builder};

/// Variables of a gateway that only this machine reaches: it takes webhooks without a signature and serves
/// `/api/agent-calls` without a token.
pub const OPEN_GATEWAY: [(&str, &str); 3] =
    [("ALLOW_UNSIGNED", "true"), ("ALLOWED_SOURCES", "loopback,elevenlabs"), ("API_ANONYMOUS", "all")];

/// Plays the part that `args` name. The first argument is the executable, as in `std::env::args_os`.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // The services read their own command line; the guard must not depend on anything but std.
    let rest = |name: &str| std::iter::once(name.into()).chain(args[2..].iter().cloned());
    match args.get(1).and_then(|part| part.to_str()) {
        Some("gateway") => aftercall_ingest::main(rest("aftercall-ingest")),
        Some("worker") => aftercall_worker::main(rest("aftercall-worker")),
        Some("guard") => guard::main(rest("guard")),
        _ => cli::main(args),
    }
}
