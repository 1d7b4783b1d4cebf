//! `aftercall-worker deliveries`: what was sent to endpoints, and with which result.

mod list;
mod options;
mod output;
mod replay;

pub use self::options::Command;
pub(crate) use self::output::attempt_json;
use crate::Context;

/// Runs a subcommand.
pub async fn run(context: &Context, command: &Command) -> anyhow::Result<()> {
    match command {
        Command::List { filter, limit, json } => list::list(context, filter, *limit, *json).await,
        Command::Show { id, json } => list::show(context, id, *json).await,
        Command::Replay { which, dry_run } => replay::replay(context, which, *dry_run).await,
    }
}
