//! Dead letters: the messages that cannot be processed, with the cause, in the stream `DEAD_LETTERS`.
//!
//! [`give_up()`] turns a message into a dead letter. Console and commands list dead letters through
//! [`DeadLetterQueue`] and `DeadLetter`, and redrive them: send them to their origin again.

mod event_type;
mod give_up;
mod index;
mod indexed;
mod message;
mod origin;
mod publish;
mod queue;
mod redrive;
mod view;

pub use self::{
    give_up::give_up,
    index::{Group, GroupCount, LetterIndex, Place},
    indexed::IndexedLetters,
    origin::NotRedrivable,
    publish::publish,
    queue::{BrokerUnavailable, DeadLetterQueue, PAGE},
    redrive::{RedriveError, Redriven},
    view::DeadLetterView,
};
pub(crate) use self::{message::DeadLetter, redrive::redrive};
