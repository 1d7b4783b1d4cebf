//! HTTP: which request goes where, the order of the checks, and the answer.

pub mod agent_calls;
pub mod gateway;
pub mod rejection;
mod request_log;
pub mod routes;
pub(crate) mod server;
