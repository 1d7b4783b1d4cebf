//! What any process of Aftercall needs: configuration, the connection to NATS, health, metrics, logs, traces,
//! and an orderly end.

pub mod admin;
pub mod broker;
pub mod cli;
pub mod config;
pub mod metrics;
pub mod shutdown;
pub mod telemetry;
pub mod trace;
