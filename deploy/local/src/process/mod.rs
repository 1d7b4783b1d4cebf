//! Child processes that never outlive this process.
//!
//! Every program runs under a `guard` (see `guard.rs`) in a process group of its own. Ctrl-C in a terminal
//! therefore reaches only this process. The guard stops the program when this process ends, even by SIGKILL.

mod child;
mod command;
mod launcher;

pub use nix::sys::signal::Signal;

pub(crate) use self::child::TAIL_LINES;
pub use self::{child::Process, command::Command, launcher::Launcher};
