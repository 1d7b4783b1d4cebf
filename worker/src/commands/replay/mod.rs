//! `aftercall-worker replay`: applies stored webhooks again.
//!
//! A replay changes only calls of which the database missed events, because the state of a call is a join.
//! Every step can be repeated, so an interrupted run can be continued with `--from`.

mod apply;
mod options;
mod output;
mod run;

pub use self::{options::Options, run::run};
