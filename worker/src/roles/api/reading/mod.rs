//! Answers requests that read stored calls: lists, one call, turns and recordings.

mod cursor;
mod error;
mod list;
mod one;
mod part;
mod query;

pub use self::{
    error::ReadingError,
    list::list,
    one::one,
    part::{Kind, part},
    query::{DEFAULT_LIMIT, LIST_PARAMETERS, MAX_LIMIT, PARTS},
};
