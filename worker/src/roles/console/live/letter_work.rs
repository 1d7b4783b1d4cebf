//! The state of work on many dead letters: at most one runs in a process. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::dead_letters::Place;

/// What is done with each dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It is sent again.
    Replay,
    /// It is deleted.
    Delete,
}

/// How far the work is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It goes on.
    Running,
    /// Somebody canceled it; dead letters that were begun are finished.
    Canceling,
    /// All dead letters were taken.
    Finished,
    /// Somebody canceled it, or the process stops.
    Canceled,
    /// It ended early, for this reason.
    Stopped(String),
}

/// The latest work.
#[derive(Clone, Debug)]
pub struct Progress {
    pub work: Work,
    /// What was selected, in words.
    pub selected: String,
    /// Who started it.
    pub by: String,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub state: State,
    /// Number of selected dead letters.
    pub total: u64,
    /// Dead letters that were sent again or deleted.
    pub done: u64,
    /// Dead letters that were gone already.
    pub gone: u64,
    /// Dead letters that must not be sent again.
    pub failed: u64,
    /// The first reasons.
    pub failures: Vec<String>,
}

impl Progress {
    /// Whether dead letters are still being worked on.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running | State::Canceling)
    }
}

/// Another work is running.
#[derive(Debug, PartialEq, Eq)]
pub struct Busy;

/// The messages that work sent again.
#[derive(Clone, Debug, Default)]
pub struct SentAgain {
    /// Dead letters of these messages have this number or a higher one.
    pub first_new: u64,
    /// Where the messages are stored.
    pub places: BTreeSet<Place>,
}

impl SentAgain {
    /// The last message of each stream.
    pub fn last(&self) -> Vec<Place> {
        // The places are in order, and the map keeps the last value of a key.
        self.places.iter().copied().collect::<BTreeMap<_, _>>().into_iter().collect()
    }
}

/// The latest work of this process.
#[derive(Default)]
pub struct LetterWork(Mutex<Option<Latest>>);

struct Latest {
    progress: Progress,
    cancel: CancellationToken,
    sent: SentAgain,
}

impl LetterWork {
    /// The latest work. `None`: none since the start of the process.
    pub fn progress(&self) -> Option<Progress> {
        self.lock().as_ref().map(|latest| latest.progress.clone())
    }

    /// Cancels the running work. Returns whether one was running.
    pub fn cancel(&self) -> bool {
        match &mut *self.lock() {
            Some(latest) if latest.progress.is_running() => {
                latest.progress.state = State::Canceling;
                latest.cancel.cancel();
                true
            }
            _ => false,
        }
    }

    /// Makes `progress` the latest work, which `cancel` cancels.
    ///
    /// # Errors
    /// Other work is running.
    pub fn begin(&self, progress: Progress, cancel: CancellationToken) -> Result<(), Busy> {
        let mut latest = self.lock();
        if latest.as_ref().is_some_and(|latest| latest.progress.is_running()) {
            return Err(Busy);
        }
        *latest = Some(Latest { progress, cancel, sent: SentAgain::default() });
        Ok(())
    }

    /// Changes the latest work.
    pub fn update(&self, change: impl FnOnce(&mut Progress)) {
        if let Some(latest) = &mut *self.lock() {
            change(&mut latest.progress);
        }
    }

    /// Sets the number from which on new dead letters count as messages that came back.
    pub fn set_first_new(&self, number: u64) {
        if let Some(latest) = &mut *self.lock() {
            latest.sent.first_new = number;
        }
    }

    /// Adds a message that was sent again.
    pub fn add_sent(&self, place: Place) {
        if let Some(latest) = &mut *self.lock() {
            latest.sent.places.insert(place);
        }
    }

    /// What `read` reads of the messages that the latest work sent again. `None`: there was no work.
    pub fn sent<T>(&self, read: impl FnOnce(&SentAgain) -> T) -> Option<T> {
        self.lock().as_ref().map(|latest| read(&latest.sent))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Latest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        Progress {
            work: Work::Replay,
            selected: String::new(),
            by: String::new(),
            started_at: Timestamp::UNIX_EPOCH,
            ended_at: None,
            state: State::Running,
            total: 1,
            done: 0,
            gone: 0,
            failed: 0,
            failures: Vec::new(),
        }
    }

    #[test]
    fn the_last_message_of_each_stream_is_known() {
        let places = [("WEBHOOKS", 7), ("WEBHOOKS", 9), ("TRANSCRIPTS", 3), ("WEBHOOKS", 8)].into();
        let mut last = SentAgain { first_new: 1, places }.last();
        last.sort_unstable();
        assert_eq!(last, [("TRANSCRIPTS", 3), ("WEBHOOKS", 9)]);
    }

    #[test]
    fn at_most_one_work_runs_and_it_runs_until_its_end() {
        let (work, cancel) = (LetterWork::default(), CancellationToken::new());
        assert!(!work.cancel() && work.progress().is_none());
        assert_eq!(work.begin(progress(), cancel.clone()), Ok(()));
        assert_eq!(work.begin(progress(), CancellationToken::new()), Err(Busy));
        assert!(work.cancel() && cancel.is_cancelled());
        assert_eq!(
            work.begin(progress(), CancellationToken::new()),
            Err(Busy),
            "what was begun is finished first"
        );
        for ended in [State::Canceled, State::Finished, State::Stopped(String::new())] {
            work.update(|progress| progress.state = ended);
            assert!(!work.cancel());
            assert_eq!(work.begin(progress(), CancellationToken::new()), Ok(()));
        }
    }
}
