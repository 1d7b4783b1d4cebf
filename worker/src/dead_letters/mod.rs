//! The graveyard: messages that no retry can help, kept with the reason, and what an operator can do
//! with them.

mod again;
mod bury;
mod command;
mod desk;
mod letter;
mod origin;

pub use self::{
    again::{NotSent, Sent},
    bury::{Cause, bury},
    command::{Command, run},
    desk::{Desk, PAGE, Shown, Silent},
    origin::Unsendable,
};
