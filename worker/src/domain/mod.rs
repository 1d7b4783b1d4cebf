//! Calls, and the events that change them. Pure: no clock, no socket, no database.

pub mod audit;
pub mod call;
pub mod cause;
pub mod conversation;
pub mod delivery;
pub mod event;
pub mod note;
pub mod reason;
pub mod reconciliation;
pub(crate) mod retry_after;
pub mod text;
pub(crate) mod time;
