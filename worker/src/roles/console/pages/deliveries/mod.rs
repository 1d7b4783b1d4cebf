//! `/deliveries`: what was sent to endpoints, and with which result. People send messages again, one or all that match
//! a filter. The commands `deliveries` do the same through the same code.

mod list;
mod params;
mod replay;
mod show;

pub use self::{
    list::list,
    params::Params,
    replay::{replay_all, replay_one},
    show::show,
};
