//! Placing of calls.

mod error;
mod place;
mod record;
mod request;

pub use self::{
    error::PlacementError,
    place::{DIALLING_TIMEOUT, place},
    request::{MAX_ID, MAX_METADATA, MAX_METADATA_NAME, MAX_METADATA_TEXT, is_metadata_name, known_fields},
};
