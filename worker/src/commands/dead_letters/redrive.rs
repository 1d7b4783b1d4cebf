//! `dead-letters replay`.

use aftercall_common::contract::streams::header;
use anyhow::ensure;
use async_nats::jetstream::stream::Stream;

use super::{letters, options::Selection};
use crate::{
    Context,
    commands::{print_line, terminal},
    dead_letters::{self, RedriveError},
};

/// Sends the selected dead letters again.
///
/// # Errors
/// The broker does not answer, or some dead letters must not be sent again. The others are sent.
pub async fn redrive(
    context: &Context,
    stream: &Stream,
    which: &Selection,
    dry_run: bool,
) -> anyhow::Result<()> {
    let numbers = letters::selected(stream, which).await?;
    let bar = terminal::bar(numbers.len());
    let (mut sent, mut refused) = (0, 0);
    for number in &numbers {
        let Some(letter) = letters::find(stream, *number).await? else { continue };
        let reason = letter.header(header::DEAD_REASON).to_owned();
        let outcome = if dry_run {
            letter
                .redriven()
                .map(|(origin, _)| Some(origin.subject))
                .map_err(|error| RedriveError::NotRedrivable(*number, error))
        } else {
            dead_letters::redrive(&context.jetstream, stream, letter, None).await.map(|_| None)
        };
        match outcome {
            Ok(Some(subject)) => print_line(format!("would send number {number} ({reason}) to {subject}"))?,
            Ok(None) => sent += 1,
            // The remaining dead letters can still be sent.
            Err(error @ (RedriveError::NotRedrivable(..) | RedriveError::SentBefore(..))) => {
                refused += 1;
                bar.suspend(|| eprintln!("{error}"));
            }
            Err(error) => return Err(error.into()),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if !dry_run {
        print_line(format!("{sent} dead letters sent again"))?;
    }
    ensure!(
        refused == 0,
        "{refused} dead letters cannot be sent again; show them, then drop them if they are useless"
    );
    Ok(())
}
