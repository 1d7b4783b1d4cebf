//! JSON as senders write it: what is accepted, and how it is read.

mod tolerant;

pub use self::tolerant::{MAX_DEPTH, ReadError, read, read_object};
