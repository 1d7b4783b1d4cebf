//! What gateway and worker agree on, and what any process of Aftercall needs.
//!
//! [`contract::streams`] and [`contract::agent_calls`] are the contract between the two: streams, subjects, headers,
//! consumers. The rest is the frame of a process: [`process::config`], [`process::telemetry`] (logs), [`process::trace`],
//! [`process::shutdown`],
//! [`process::broker`] (the connection to NATS), [`http`] (the accept loop), [`json`] (reading what senders write), [`process::cli`],
//! [`process::admin`] (health, metrics) and
//! [`process::metrics`] (what a process shows of itself).

pub mod contract;
pub mod http;
pub mod json;
pub mod phone_numbers;
pub mod process;
