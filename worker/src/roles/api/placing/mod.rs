//! Placing of calls.

mod error;
mod place;
mod record;
mod request;

pub use self::{
    error::PlacementError,
    place::{DIALLING_TIMEOUT, place},
};
