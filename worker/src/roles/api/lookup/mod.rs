//! Status lookups.

mod answer;
mod error;
mod find;
mod observation;
mod request;

pub use self::{answer::fit, error::LookupError, find::Lookup, request::LookupRequest};
