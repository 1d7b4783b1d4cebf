//! `/endpoints`: the URLs that get events or webhooks. People add, test, pause, resume and remove them, change
//! their filters, and give them new secrets. The commands `endpoints` do the same through the same code.

mod actions;
mod add;
mod form;
mod list;
mod secret;
mod show;

pub use self::{
    actions::{filter, pause, remove, resume, rotate, test},
    add::{add, form},
    list::list,
    show::show,
};

/// Address of the section to which the pages belong.
pub const SECTION: &str = "/endpoints";
