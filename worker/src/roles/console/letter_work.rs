//! Sends many dead letters again, or deletes them, in the background.
//!
//! Invariants:
//! - At most one such work runs in a process: see [`LetterWork`](super::live::letter_work::LetterWork).
//! - The work takes only the numbers it was started with. A dead letter that comes back has another number.
//! - Work that was canceled or that the process ends begins no further dead letter. Each dead letter is either
//!   done or still stored.
//!
//! The state is in memory: a restart ends the work and forgets it. Started again, it takes what is left.

use std::{future::ready, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{
    live::letter_work::{Busy, Progress, State, Work},
    state::Console,
};
use crate::dead_letters::{DeadLetterQueue, Place, RedriveError};

/// Dead letters in work at the same time.
const PARALLEL: usize = 8;
/// Longest wait for the broker, for each dead letter.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most failures that are kept.
const MAX_FAILURES: usize = 20;

/// Starts work on `numbers`.
///
/// # Errors
/// Other work is running.
pub fn start(
    console: &Arc<Console>,
    work: Work,
    numbers: Vec<u64>,
    selected: String,
    by: String,
) -> Result<(), Busy> {
    let cancel = console.stop.child_token();
    let progress = Progress {
        work,
        selected,
        by,
        started_at: Timestamp::now(),
        ended_at: None,
        state: State::Running,
        total: numbers.len() as u64,
        done: 0,
        gone: 0,
        failed: 0,
        failures: Vec::new(),
    };
    console.letter_work.begin(progress, cancel.clone())?;
    let console = console.clone();
    console.tasks.clone().spawn(async move {
        let stopped = run(&console, work, numbers, &cancel).await.err();
        console.letter_work.update(|progress| {
            progress.ended_at = Some(Timestamp::now());
            progress.state = match stopped {
                Some(reason) => State::Stopped(reason),
                None if cancel.is_cancelled() => State::Canceled,
                None => State::Finished,
            };
            let (done, failed) = (progress.done, progress.failed);
            tracing::info!(?work, done, failed, state = ?progress.state, "work on dead letters ended");
        });
        console.count_dead_letters().await;
    });
    Ok(())
}

/// What became of one dead letter.
enum Outcome {
    /// The place of the new message if it was sent again.
    Done(Option<Place>),
    Gone,
    /// It must not be sent again. Others may.
    Failed(String),
    /// The broker does not take it, so it will not take others.
    Stop(String),
}

/// Works until all is done, or until `cancel`.
///
/// # Errors
/// The broker does not answer, or does not store messages.
async fn run(
    console: &Console,
    work: Work,
    numbers: Vec<u64>,
    cancel: &CancellationToken,
) -> Result<(), String> {
    let opening = DeadLetterQueue::open(&console.context.jetstream);
    let late = |_elapsed| "NATS did not answer in time".to_owned();
    let queue =
        tokio::time::timeout(TIMEOUT, opening).await.map_err(late)?.map_err(|error| error.to_string())?;
    console.letter_work.set_first_new(queue.end());
    let halt = cancel.child_token();
    let mut outcomes = stream::iter(numbers)
        .take_while(|_| ready(!halt.is_cancelled()))
        .map(|number| {
            let queue = &queue;
            async move {
                let outcome = tokio::time::timeout(TIMEOUT, one(queue, work, number)).await;
                (number, outcome.unwrap_or_else(|elapsed| Outcome::Stop(late(elapsed))))
            }
        })
        .buffer_unordered(PARALLEL);
    let mut stopped = None;
    while let Some((number, outcome)) = outcomes.next().await {
        if matches!(outcome, Outcome::Done(_) | Outcome::Gone) {
            console.letters.get().remove(number);
        }
        if let Outcome::Done(Some(place)) = outcome {
            console.letter_work.add_sent(place);
        }
        console.letter_work.update(|progress| match outcome {
            Outcome::Done(_) => progress.done += 1,
            Outcome::Gone => progress.gone += 1,
            Outcome::Failed(reason) => {
                progress.failed += 1;
                if progress.failures.len() < MAX_FAILURES {
                    progress.failures.push(reason);
                }
            }
            Outcome::Stop(reason) => {
                halt.cancel();
                stopped.get_or_insert(reason);
            }
        });
    }
    stopped.map_or(Ok(()), Err)
}

async fn one(queue: &DeadLetterQueue, work: Work, number: u64) -> Outcome {
    match work {
        Work::Delete => match queue.remove(number).await {
            Ok(true) => Outcome::Done(None),
            Ok(false) => Outcome::Gone,
            Err(error) => Outcome::Stop(error.to_string()),
        },
        Work::Replay => match queue.redrive(number, None).await {
            Ok(Some(Ok(sent))) => Outcome::Done(Some((sent.stream, sent.sequence))),
            Ok(Some(Err(error @ (RedriveError::NotRedrivable(..) | RedriveError::SentBefore(..))))) => {
                Outcome::Failed(error.to_string())
            }
            Ok(Some(Err(error))) => Outcome::Stop(error.to_string()),
            Ok(None) => Outcome::Gone,
            Err(error) => Outcome::Stop(error.to_string()),
        },
    }
}
