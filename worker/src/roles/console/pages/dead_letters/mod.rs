//! `/dead-letters`: the messages that could not be processed. People read them, send them again with or
//! without a changed body, or delete them.

mod actions;
mod body;
mod letter;
mod list;
mod outcome;
mod queue;
mod row;

pub use self::{
    actions::{delete, redrive},
    letter::{edit, show},
    list::list,
    outcome::outcome,
};
