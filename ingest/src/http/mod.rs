//! HTTP: the routes, the order of the checks, and the answers.

pub mod agent_calls;
pub mod gateway;
pub mod label_values;
pub mod problem;
pub mod rejection;
mod request;
mod request_log;
pub mod routes;
pub(crate) mod server;
mod success;
pub mod webhooks;
