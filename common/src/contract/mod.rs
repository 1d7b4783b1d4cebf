//! What gateway and worker agree on: providers, streams, subjects, headers, consumers, and the questions
//! about calls that the gateway passes on to a worker.

pub mod agent_calls;
pub mod consumer;
mod ensure;
pub mod form_limits;
pub mod header;
pub mod provider;
pub mod streams;
pub mod subject;
