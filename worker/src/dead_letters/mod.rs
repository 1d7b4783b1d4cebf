//! The graveyard: messages that no retry can help, kept with the reason, and what an operator can do
//! with them.

mod give_up;
pub(crate) mod message;
mod origin;
mod publish;
mod queue;
pub(crate) mod redrive;

pub use self::{
    give_up::give_up,
    origin::Unsendable,
    publish::bury,
    queue::{Desk, PAGE, Shown, Silent},
    redrive::{NotSent, Sent},
};
