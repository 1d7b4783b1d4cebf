//! The publishes that the broker has not acknowledged yet.

use std::time::{Duration, Instant};

/// A publish that the broker has not acknowledged yet.
#[derive(Debug)]
pub(super) struct InFlight {
    pub publish: Publish,
    pub sent_at: Instant,
}

/// The webhooks that one acknowledgement covers. Each number is the key of a webhook.
#[derive(Debug)]
pub(super) enum Publish {
    /// A single message.
    Single(usize),
    /// The first message of a batch.
    BatchOpening(usize),
    /// The last message of a batch, with the keys of all its messages.
    BatchCommit(Vec<usize>),
}

impl Publish {
    /// The webhooks whose result depends on the acknowledgement.
    pub fn keys(&self) -> &[usize] {
        match self {
            Self::Single(key) | Self::BatchOpening(key) => std::slice::from_ref(key),
            Self::BatchCommit(keys) => keys,
        }
    }
}

/// Counts the single publishes in flight, and measures how long the broker takes for each.
#[derive(Debug, Default)]
pub(super) struct SinglesInFlight {
    count: usize,
    /// Start of the current measurement: the latest acknowledgement, or the first publish after a pause.
    since: Option<Instant>,
    /// Whether other publishes were in flight when the latest publish was sent. If there were none, the time
    /// to the acknowledgement is mostly network time.
    overlapping: bool,
}

impl SinglesInFlight {
    pub fn count(&self) -> usize {
        self.count
    }

    pub fn sent(&mut self, now: Instant) {
        self.overlapping = self.count > 0;
        self.since.get_or_insert(now);
        self.count += 1;
    }

    /// Returns the broker's time for this publish. `None` if the publishes did not overlap, because the time
    /// is then mostly network time.
    pub fn acknowledged(&mut self, now: Instant) -> Option<Duration> {
        self.count -= 1;
        let since = self.since.take_if(|_| self.overlapping);
        self.since = (self.count > 0).then_some(now);
        since.map(|since| now.saturating_duration_since(since))
    }

    /// Records that a publish will not be acknowledged any more.
    pub fn given_up(&mut self) {
        self.count -= 1;
        self.since.take_if(|_| self.count == 0);
    }
}
