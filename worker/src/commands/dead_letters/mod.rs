//! `aftercall-worker dead-letters`: lists messages that could not be processed, sends them again, or deletes
//! them.

mod delete;
mod letters;
mod list;
mod options;
mod redrive;

use crate::Context;

pub use self::options::{Command, Filter, Selection};

/// Runs a subcommand.
pub async fn run(context: &Context, command: &Command) -> anyhow::Result<()> {
    let stream = letters::stream(context).await?;
    match command {
        Command::List { filter, json } => list::list(&stream, filter, *json).await,
        Command::Show { number, json } => list::show(&stream, *number, *json).await,
        Command::Replay { which, dry_run } => redrive::redrive(context, &stream, which, *dry_run).await,
        Command::Drop { which, yes } => delete::delete(&stream, which, *yes).await,
    }
}
