//! `aftercall-worker register`: creates or finds the webhook at ElevenLabs and binds its events.
//!
//! The role `reconcile` then checks the webhook at intervals (`roles::webhook_check`).

mod forward;
mod options;
mod output;
mod run;

pub use self::{options::Options, run::run};
