//! The webhook at ElevenLabs: made and bound by the command `register`, watched by the role `reconcile`.

mod command;
mod plan;
mod secret;
mod watch;

pub use self::{
    command::{Options, RegisterError, run},
    watch::watch,
};

/// What is bound unless somebody wants it otherwise: all that decides about calls.
pub const EVENTS: [&str; 2] = ["transcript", "call_initiation_failure"];
