//! The role `api`: answers requests about calls as a NATS service.
//!
//! Any number of workers share the requests; each request goes to one of them.

mod endpoint;
mod fit;
mod lookup;
mod nearest;
mod placing;
mod reading;
mod service;

pub use self::{
    lookup::Lookup,
    placing::{
        DIALLING_TIMEOUT, MAX_ID, MAX_METADATA, MAX_METADATA_NAME, MAX_METADATA_TEXT, PlacementError,
        known_fields, place,
    },
    reading::{DEFAULT_LIMIT, LIST_PARAMETERS, MAX_LIMIT, PARTS},
    service::run,
};
