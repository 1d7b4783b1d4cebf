//! `aftercall-worker endpoints`: the URLs that get events about calls, or the webhooks of providers.

mod add;
mod change;
mod list;
mod options;
mod output;
mod test;

pub use self::options::{Add, Command};
use crate::{
    Context,
    domain::delivery::{Reason, State},
    endpoints::find,
};

/// Runs a subcommand.
pub async fn run(context: &Context, command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Add(options) => add::add(context, options).await,
        Command::List { json } => list::list(context, *json).await,
        Command::Filter(options) => change::set_filter(context, options).await,
        Command::Test { id, json } => test::test(context, &find(context, id).await?, *json).await,
        Command::Pause { id } => change::set_state(context, id, State::Stopped(Reason::Operator)).await,
        Command::Resume { id } => change::set_state(context, id, State::Active).await,
        Command::Rotate { id, overlap, json } => {
            change::rotate(context, &find(context, id).await?, *overlap, *json).await
        }
        Command::Remove { id, yes } => change::remove(context, id, *yes).await,
    }
}
