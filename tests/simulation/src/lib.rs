//! Deterministic simulation of gateway and worker.
//!
//! The decision code of gateway and worker runs unchanged. Models replace the broker, the database, the
//! provider, the clock and chance. A seed decides everything that happens, so that a seed gives the same run
//! every time.
//!
//! The models have the behaviour that was measured of the real programs:
//! - The broker stores a publish after the gateway has given it up.
//! - The broker forgets acknowledgements and delivers these messages again as a first delivery.
//! - Acknowledgements arrive late or are lost.
//! - The broker refuses batches.
//! - A database write takes effect although it failed, or takes effect later.
//! - Unique indexes refuse documents.
//!
//! Senders post duplicates in any order and stop repeating after some tries. Processes are killed at any
//! `await`.
//!
//! A seed that fails is printed. To repeat it: `cargo run --package aftercall-simulation -- --seed N`.

mod broker;
mod check;
mod command;
mod consumer;
mod database;
mod documents;
mod faults;
mod gateway;
mod panics;
mod ports;
mod process;
mod provider;
mod roles;
mod run;
mod scenario;
mod world;

pub use self::{
    command::command,
    run::{RunReport, simulate},
};
