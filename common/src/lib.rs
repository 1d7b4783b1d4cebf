//! The contract between gateway and worker, and the parts that every process of Aftercall needs.
//!
//! Modules, each of which uses only earlier ones:
//!
//! - [`contract`]: streams, subjects, headers and consumers that gateway and worker agree on.
//! - [`json`]: bounds for JSON from senders, and a tolerant reader.
//! - [`phone_numbers`]: finds and masks telephone numbers.
//! - [`http`]: the HTTP server with its limits and TLS, and a small client.
//! - [`process`]: configuration, connection to NATS, health, metrics, logs, traces and shutdown.

mod config_error;
pub mod contract;
pub mod http;
pub mod json;
pub mod phone_numbers;
pub mod process;
