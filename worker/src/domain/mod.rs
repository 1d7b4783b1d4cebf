//! Calls, and the events that change them. Pure: no clock, no socket, no database.

pub mod call;
pub mod cause;
pub mod conversation;
pub mod event;
pub mod reason;
pub mod reconciliation;
pub(crate) mod text;
pub(crate) mod time;
