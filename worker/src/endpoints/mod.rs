//! Endpoints of the operator's systems: adds and changes them, and sends messages to them again.
//!
//! Commands and console share this code. The role `deliver` then posts the messages.

mod change;
mod error;
mod replay;

pub use self::{
    change::{Added, NewEndpoint, Rotation, add, find, remove, rotate, set_filter, set_state},
    error::{EndpointError, ReplayError},
    replay::{replay, sendable},
};
