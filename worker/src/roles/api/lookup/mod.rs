//! Status lookups.

mod answer;
mod error;
mod find;
mod request;

pub use self::{find::Lookup, request::LookupRequest};
