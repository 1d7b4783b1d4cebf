//! The role `api`: answers requests about calls as a NATS service.
//!
//! Any number of workers share the requests; each request goes to one of them.

mod lookup;
mod placing;
mod service;

pub use self::{
    lookup::Lookup,
    placing::{DIALLING_TIMEOUT, PlacementError, place},
    service::run,
};
