//! `/deliveries`: the messages that were sent to endpoints, with the result of each. An operator can send one of them
//! again, or all that match a filter with an endpoint or a call. The command `deliveries replay` publishes its jobs through
//! the same function, [`crate::endpoints::replay`].

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
