//! The parts of every process: configuration, connection to NATS, health, metrics, logs, traces and shutdown.

pub mod admin;
pub mod blocking;
pub mod broker;
pub mod cli;
pub mod config;
pub mod flat_yaml;
pub mod metrics;
pub mod networks;
pub mod shutdown;
pub mod success_log;
pub mod supervisor;
pub mod telemetry;
pub mod trace;
