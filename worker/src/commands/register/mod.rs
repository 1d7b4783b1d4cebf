//! The webhook at ElevenLabs: made and bound by the command `register`, watched by the role `reconcile`
//! (`roles::webhook_watch`).

mod command;
mod secret;

pub use self::command::{Options, RegisterError, run};
