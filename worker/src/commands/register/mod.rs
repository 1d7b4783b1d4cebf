//! `aftercall-worker register`: creates or finds the webhook at ElevenLabs and binds its events.
//!
//! The role `reconcile` then checks the webhook at intervals (`roles::webhook_check`).

mod error;
mod options;
mod output;
mod run;
mod secret_file;

pub use self::{error::RegisterError, options::Options, run::run};
