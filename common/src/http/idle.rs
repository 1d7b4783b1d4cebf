//! Idle connections, which are closed to admit new ones when the server is at its limit.
//!
//! Connections without an authenticated request are closed first, so that untrusted senders cannot displace
//! the provider. While the authenticated ones are the majority, they are closed first, so that a new
//! connection always has time for its first request.
//!
//! Invariant: a connection that is answering a request is never closed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

/// The idle connections of a listener.
#[derive(Debug, Default)]
pub(super) struct IdleConnections(Mutex<Queues>);

/// Idle connections by number. A connection gets a new number each time it becomes idle.
#[derive(Debug, Default)]
struct Queues {
    last_number: u64,
    /// Connections without an authenticated request.
    untrusted: BTreeMap<u64, Arc<Notify>>,
    /// Connections with an authenticated request.
    trusted: BTreeMap<u64, Arc<Notify>>,
}

impl IdleConnections {
    /// Adds a new connection, which is idle until its first request.
    pub(super) fn join(self: &Arc<Self>) -> Activity {
        let activity = Activity {
            idle: self.clone(),
            number: AtomicU64::new(BUSY),
            trusted: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            evicted: Arc::new(Notify::new()),
        };
        activity.set_idle();
        activity
    }

    /// Asks the connection that has been idle longest to close. Returns false if no connection is idle.
    pub(super) fn evict_longest(&self) -> bool {
        let mut queues = self.queues();
        let trusted_first = queues.trusted.len() > queues.untrusted.len();
        let longest = if trusted_first { queues.trusted.pop_first() } else { queues.untrusted.pop_first() };
        if let Some((_, evicted)) = &longest {
            evicted.notify_one();
        }
        longest.is_some()
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sentinel: the connection is busy.
const BUSY: u64 = 0;

/// The state of a connection: idle or busy. Dropping this value removes the connection from the idle ones.
#[derive(Debug)]
pub(super) struct Activity {
    idle: Arc<IdleConnections>,
    /// Number among the idle connections, or [`BUSY`]. Only the task of the connection changes `number`,
    /// `trusted` and `requests`.
    number: AtomicU64,
    /// Whether the connection has brought an authenticated request.
    trusted: AtomicBool,
    /// Number of requests so far.
    requests: AtomicU64,
    /// Notified when the connection has to close.
    evicted: Arc<Notify>,
}

impl Activity {
    /// Marks the connection as idle.
    pub(super) fn set_idle(&self) {
        let mut queues = self.idle.queues();
        queues.last_number += 1;
        let number = queues.last_number;
        self.leave(&mut queues);
        let trusted = self.trusted.load(Ordering::Relaxed);
        let queue = if trusted { &mut queues.trusted } else { &mut queues.untrusted };
        queue.insert(number, self.evicted.clone());
        self.number.store(number, Ordering::Relaxed);
    }

    /// Marks the connection as busy with one more request.
    pub(super) fn set_busy(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.leave(&mut self.idle.queues());
    }

    /// Marks the request as authenticated. Must be called before the connection is idle again.
    pub(super) fn mark_trusted(&self) {
        self.trusted.store(true, Ordering::Relaxed);
    }

    /// Whether the connection has brought an authenticated request.
    pub(super) fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }

    fn leave(&self, queues: &mut Queues) {
        let number = self.number.swap(BUSY, Ordering::Relaxed);
        // The connection may have become trusted since it was added.
        queues.untrusted.remove(&number);
        queues.trusted.remove(&number);
    }

    /// Number of requests so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether the connection is idle.
    pub(super) fn is_idle(&self) -> bool {
        self.number.load(Ordering::Relaxed) != BUSY
    }

    /// Waits until the connection has to close.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        self.leave(&mut self.idle.queues());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn longest_idle_connection_is_evicted_and_busy_ones_are_not() {
        let idle = Arc::new(IdleConnections::default());
        let [first, second, third] = [(); 3].map(|()| idle.join());
        first.set_busy();
        assert!(!first.is_idle() && second.is_idle());
        second.set_busy();
        second.set_idle(); // After the third.
        for evicted in [&third, &second] {
            assert!(idle.evict_longest());
            evicted.evicted().await;
        }
        assert!(!idle.evict_longest(), "only a busy connection is left");
        let untrusted = idle.join();
        first.mark_trusted();
        first.set_idle();
        second.set_idle();
        for evicted in [&untrusted, &second, &first] {
            assert!(idle.evict_longest());
            evicted.evicted().await; // The trusted one is last, whenever it became idle.
        }
        drop((first, second, third, untrusted));
        let (again, gone) = (idle.join(), idle.join());
        drop(gone);
        again.set_idle();
        assert!(idle.evict_longest() && !idle.evict_longest(), "dropped connections leave nothing behind");
    }
}
