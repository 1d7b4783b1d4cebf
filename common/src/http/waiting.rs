//! Connections that wait for a request: the first to go when there is no room for a newcomer.
//!
//! Those that never brought an authenticated request go first, so that strangers cannot crowd out the provider;
//! except while the others are the majority, so that a newcomer always has time for its first request.
//!
//! Invariant: a connection that answers a request is not among them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

/// Those of one listener, each kind in the order in which they began to wait.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    last: u64,
    /// Those without an authenticated request, by number.
    strangers: BTreeMap<u64, Arc<Notify>>,
    /// Those with one.
    known: BTreeMap<u64, Arc<Notify>>,
}

impl Waiting {
    /// A connection that was opened just now, and waits for its first request.
    pub(super) fn join(self: &Arc<Self>) -> Place {
        let place = Place {
            waiting: self.clone(),
            number: AtomicU64::new(NONE),
            known: AtomicBool::new(false),
            served: AtomicU64::new(0),
            wanted: Arc::new(Notify::new()),
        };
        place.wait();
        place
    }

    /// Asks the connection that has waited longest, of the kind whose turn it is, to give up its place. False: none
    /// waits.
    pub(super) fn ask_longest(&self) -> bool {
        let mut line = self.line();
        let known_first = line.known.len() > line.strangers.len();
        let longest = if known_first { line.known.pop_first() } else { line.strangers.pop_first() };
        if let Some((_, wanted)) = &longest {
            wanted.notify_one();
        }
        longest.is_some()
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sentinel: the connection is busy.
const NONE: u64 = 0;

/// The place of one connection. In nobody's way once dropped.
#[derive(Debug)]
pub(super) struct Place {
    waiting: Arc<Waiting>,
    /// Only the task of the connection changes it, as the two below.
    number: AtomicU64,
    /// Whether it brought an authenticated request.
    known: AtomicBool,
    /// Requests it has brought.
    served: AtomicU64,
    wanted: Arc<Notify>,
}

impl Place {
    /// From now on it waits.
    pub(super) fn wait(&self) {
        let mut line = self.waiting.line();
        line.last += 1;
        let number = line.last;
        self.leave(&mut line);
        let known = self.known.load(Ordering::Relaxed);
        let places = if known { &mut line.known } else { &mut line.strangers };
        places.insert(number, self.wanted.clone());
        self.number.store(number, Ordering::Relaxed);
    }

    /// From now on it has a request.
    pub(super) fn work(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
        self.leave(&mut self.waiting.line());
    }

    /// It brought an authenticated request. To be called before it waits again.
    pub(super) fn trust(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    fn leave(&self, line: &mut Line) {
        let number = self.number.swap(NONE, Ordering::Relaxed);
        // It may have become known since it began to wait.
        line.strangers.remove(&number);
        line.known.remove(&number);
    }

    /// Requests it has brought.
    pub(super) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
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
        self.leave(&mut self.waiting.line());
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
        let stranger = waiting.join();
        first.trust();
        first.wait();
        second.wait();
        for asked in [&stranger, &second, &first] {
            assert!(waiting.ask_longest());
            asked.wanted().await; // The known one last, whenever it began to wait.
        }
        drop((first, second, third, stranger));
        let (again, gone) = (waiting.join(), waiting.join());
        drop(gone);
        again.wait();
        assert!(waiting.ask_longest() && !waiting.ask_longest(), "nothing is remembered of who has left");
    }
}
