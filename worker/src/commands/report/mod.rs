//! `aftercall-worker report`: figures about calls, for people and for scripts. It only reads.

mod answer;
mod batch;
mod by;
mod options;
mod run;
mod text;

pub use self::{options::Options, run::run};
