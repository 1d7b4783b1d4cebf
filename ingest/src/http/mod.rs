//! HTTP: the routes, the order of the checks, and the answers.

pub mod agent_calls;
pub(crate) mod body;
mod cors;
pub mod gateway;
pub mod label_values;
pub mod problem;
pub mod rejection;
mod request;
mod request_id;
mod request_log;
pub mod routes;
pub(crate) mod server;
mod success;
pub mod webhooks;
