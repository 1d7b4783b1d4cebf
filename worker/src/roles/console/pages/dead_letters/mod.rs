//! `/dead-letters`: the messages that could not be processed. People read them, send them again with or
//! without a changed body, or delete them, one by one or many at once.

mod actions;
mod body;
mod check;
mod compute;
mod difference;
mod edit;
mod letter;
mod list;
mod outcome;
mod queue;
mod row;
mod selection;
mod work;

pub use self::{
    actions::{delete, redrive},
    edit::{compare, edit},
    letter::show,
    list::list,
    outcome::outcome,
    selection::Params,
    work::{cancel, show as show_work, start as start_work},
};
