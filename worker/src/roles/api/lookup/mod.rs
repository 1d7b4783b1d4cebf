//! Status lookups.

mod answer;
mod error;
mod find;
mod request;

pub use self::{answer::fit, error::LookupError, find::Lookup, request::LookupRequest};
