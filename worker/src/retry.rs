//! Pauses between attempts: exponential, with jitter, bounded. And how long work may go on after the signal to stop.
//!
//! This is the only file that uses the crate `backoff`, which is no longer maintained. `.deny.toml` explains
//! why it is accepted.

use std::time::Duration;

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff as _};
use tokio_util::sync::CancellationToken;

/// The growing pauses of a loop that repeats an action until it succeeds.
#[derive(Debug)]
pub struct Pauses(ExponentialBackoff);

impl Pauses {
    /// Pauses that double from about `first` up to about `most`, without end.
    pub fn endless(first: Duration, most: Duration) -> Self {
        Self(builder(first, most).with_max_elapsed_time(None).build())
    }

    /// The same pauses without jitter, so that a simulation can be repeated.
    #[must_use]
    pub fn steady(mut self) -> Self {
        self.0.randomization_factor = 0.0;
        self
    }

    /// Pauses that double from about `first` up to about `most`, until `total` has passed from now on.
    pub fn within(first: Duration, most: Duration, total: Duration) -> Self {
        Self(builder(first, most).with_max_elapsed_time(Some(total)).build())
    }

    /// The next pause. `None` once the total time has passed.
    pub fn pause(&mut self) -> Option<Duration> {
        self.0.next_backoff()
    }

    /// Starts again from the first pause.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// Repeats `action` until it succeeds. Each error is given to `report`. `None` if the process stops before,
    /// or if no pause is left.
    pub async fn until_done<T, E, F: Future<Output = Result<T, E>>>(
        mut self,
        stop: &CancellationToken,
        action: impl Fn() -> F,
        report: impl Fn(E),
    ) -> Option<T> {
        loop {
            match action().await {
                Ok(done) => return Some(done),
                Err(error) => report(error),
            }
            if !self.sleep(stop).await {
                return None;
            }
        }
    }

    /// Sleeps for the next pause. Returns `false` if none is left or the process stops.
    pub async fn sleep(&mut self, stop: &CancellationToken) -> bool {
        let Some(pause) = self.pause() else { return false };
        stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
    }
}

/// Completes `time` after `stop`.
pub async fn stopped_for(stop: &CancellationToken, time: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(time).await;
}

fn builder(first: Duration, most: Duration) -> ExponentialBackoffBuilder {
    let mut builder = ExponentialBackoffBuilder::new();
    builder
        .with_initial_interval(first)
        .with_max_interval(most)
        .with_multiplier(2.0)
        .with_randomization_factor(0.5);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_their_bound() {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(5));
        let mut pauses = Pauses::endless(first, most);
        let all: Vec<_> = (0..50).map(|_| pauses.pause().unwrap()).collect();
        assert!(all[0] <= first * 3 / 2 && all[49] >= most / 2);
        assert!(all.iter().all(|pause| *pause <= most * 3 / 2));
    }
}
