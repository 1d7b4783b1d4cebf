//! What gateway and worker agree on, and what any process of Aftercall needs.
//!
//! [`stream`] and [`agent_calls`] are the contract between the two: streams, subjects, headers,
//! consumers. The rest is the frame of a process: [`config`], [`telemetry`] (logs), [`trace`],
//! [`shutdown`],
//! [`broker`] (the connection to NATS), [`http`] (the accept loop), [`json`] (reading what senders write), [`cli`],
//! [`admin`] (health, metrics) and
//! [`metrics`] (what a process shows of itself).

pub mod admin;
pub mod agent_calls;
pub mod broker;
pub mod cli;
pub mod config;
pub mod form;
pub mod http;
pub mod json;
pub mod metrics;
pub mod numbers;
pub mod shutdown;
pub mod stream;
pub mod telemetry;
pub mod trace;
