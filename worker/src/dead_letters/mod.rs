//! The graveyard: messages that no retry can help, kept with the reason, and what an operator can do
//! with them.

mod bury;
mod command;
mod letter;

pub use self::{
    bury::{Cause, bury},
    command::{Command, run},
};
