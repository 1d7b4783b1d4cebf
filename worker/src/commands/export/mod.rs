//! `aftercall-worker export`: writes calls to a file or to standard output. It only reads the database.

mod encode;
mod options;
mod output;
mod run;
mod state;

pub use self::{options::Options, run::run};
