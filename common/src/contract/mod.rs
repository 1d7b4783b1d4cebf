//! The names and settings that gateway and worker share: providers, streams, subjects, headers, consumers,
//! and the requests about calls that the gateway forwards to a worker.

pub mod agent_calls;
pub mod body_limit;
pub mod consumer;
mod ensure;
pub mod form_limits;
pub mod header;
pub mod provider;
pub mod streams;
pub mod subject;
