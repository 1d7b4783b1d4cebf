//! Connections that wait for a request: the first to go when there is no room for a newcomer.
//!
//! Invariant: a connection that answers a request is not among them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

/// Those of one listener, in the order in which they began to wait.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    last: u64,
    places: BTreeMap<u64, Arc<Notify>>,
}

impl Waiting {
    /// A connection that was opened just now, and waits for its first request.
    pub(super) fn join(self: &Arc<Self>) -> Place {
        let place =
            Place { waiting: self.clone(), number: AtomicU64::new(NONE), wanted: Arc::new(Notify::new()) };
        place.wait();
        place
    }

    /// Asks the connection that has waited longest to give up its place. False: none waits.
    pub(super) fn ask_longest(&self) -> bool {
        let longest = self.line().places.pop_first();
        if let Some((_, wanted)) = &longest {
            wanted.notify_one();
        }
        longest.is_some()
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of who does not wait.
const NONE: u64 = 0;

/// The place of one connection. In nobody's way once dropped.
#[derive(Debug)]
pub(super) struct Place {
    waiting: Arc<Waiting>,
    /// Only the task of the connection changes it.
    number: AtomicU64,
    wanted: Arc<Notify>,
}

impl Place {
    /// From now on it waits.
    pub(super) fn wait(&self) {
        let mut line = self.waiting.line();
        line.last += 1;
        let number = line.last;
        line.places.insert(number, self.wanted.clone());
        let before = self.number.swap(number, Ordering::Relaxed);
        line.places.remove(&before);
    }

    /// From now on it has a request.
    pub(super) fn work(&self) {
        let before = self.number.swap(NONE, Ordering::Relaxed);
        self.waiting.line().places.remove(&before);
    }

    /// Whether it waits.
    pub(super) fn waits(&self) -> bool {
        self.number.load(Ordering::Relaxed) != NONE
    }

    /// Until somebody else is to have it.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.work();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_waited_longest_is_asked_and_who_works_is_not() {
        let waiting = Arc::new(Waiting::default());
        let [first, second, third] = [(); 3].map(|()| waiting.join());
        first.work();
        assert!(!first.waits() && second.waits());
        second.work();
        second.wait(); // After the third.
        for asked in [&third, &second] {
            assert!(waiting.ask_longest());
            asked.wanted().await;
        }
        assert!(!waiting.ask_longest(), "only one that works is left");
        drop((first, second, third));
        let (again, gone) = (waiting.join(), waiting.join());
        drop(gone);
        again.wait();
        assert!(waiting.ask_longest() && !waiting.ask_longest(), "nothing is remembered of who has left");
    }
}
