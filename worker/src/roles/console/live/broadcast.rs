//! Broadcasts updates to connected viewers.
//!
//! Each viewer has a bounded queue. A viewer that is too slow loses the oldest updates, and then has to
//! reload its page ([`Update::Resync`]).
//!
//! The state of the calls has a version, which grows with each update about calls. A page carries the
//! version it was rendered from, so the broadcast knows whether the page missed an update before its viewer
//! connected.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;
use mongodb::bson::oid::ObjectId;
use tokio::sync::{Notify, broadcast};

use crate::store::views::CallRow;

/// Updates that are kept for a slow viewer.
const VIEWER_QUEUE: usize = 64;

/// An update for viewers. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Update {
    /// These calls changed.
    Calls(Arc<[CallUpdate]>),
    /// Too much changed for single updates: pages have to be reloaded.
    Resync,
    /// A server went away or came back.
    Health(Health),
    /// The number of dead letters changed to this.
    DeadLetters(u64),
    /// A fixed interval has passed. Pages with figures reload.
    Tick,
}

/// A call that changed.
#[derive(Debug)]
pub struct CallUpdate {
    /// `_id` of its document.
    pub id: ObjectId,
    /// Its row in a list. `None`: the document was deleted.
    pub row: Option<CallRow>,
    /// The event for a list whose filter lets the call through.
    pub row_frame: Bytes,
    /// The event for a list whose filter does not let the call through, or no longer does.
    pub left_frame: Bytes,
}

/// The servers that answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    pub mongodb: bool,
    pub nats: bool,
}

/// Sends updates to all viewers.
pub struct Broadcast {
    updates: broadcast::Sender<Update>,
    version: AtomicU64,
    /// Whether the change stream of the database is being read.
    watching: AtomicBool,
    viewer_connected: Notify,
}

impl Default for Broadcast {
    fn default() -> Self {
        Self {
            updates: broadcast::Sender::new(VIEWER_QUEUE),
            // Random, because a page of one process may connect to another process. If both had the same
            // version, the page would not learn that it missed an update.
            version: AtomicU64::new(rand::random_range(1..1 << 40)),
            watching: AtomicBool::new(false),
            viewer_connected: Notify::new(),
        }
    }
}

impl Broadcast {
    /// Connects a viewer whose page was rendered from `version`. Returns the updates, and whether the page
    /// missed an update and has to be reloaded first.
    pub fn subscribe(&self, version: u64) -> (broadcast::Receiver<Update>, bool) {
        let receiver = self.updates.subscribe();
        self.viewer_connected.notify_one();
        // While the change stream is not read, the viewer misses no update: reading starts with a resync for
        // all viewers.
        let is_behind = self.watching.load(Ordering::SeqCst) && self.version() != version;
        (receiver, is_behind)
    }

    /// The current version. A page takes the version before it reads the database, so that it misses no
    /// update in between.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// Number of connected viewers.
    pub fn viewers(&self) -> usize {
        self.updates.receiver_count()
    }

    /// Sends `update` to all viewers.
    pub fn publish(&self, update: Update) {
        if matches!(update, Update::Calls(_) | Update::Resync) {
            self.skip_version();
        }
        // The error means that no viewer is connected.
        let _no_viewer = self.updates.send(update);
    }

    /// Counts a change that is not sent because no viewer is connected. A viewer that connects later has to
    /// reload its page.
    pub fn skip_version(&self) {
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    /// Records whether the change stream is being read.
    pub fn set_watching(&self, watching: bool) {
        self.watching.store(watching, Ordering::SeqCst);
    }

    /// Waits until a viewer connects.
    pub async fn viewer_connected(&self) {
        self.viewer_connected.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_viewer_reloads_only_after_it_missed_an_update() {
        let updates = Broadcast::default();
        let (mut viewer, is_behind) = updates.subscribe(0);
        assert!(!is_behind, "the change stream is not read yet; reading starts with a resync");
        updates.set_watching(true);
        updates.publish(Update::Resync);
        assert!(matches!(viewer.recv().await, Ok(Update::Resync)));
        let version = updates.version();
        assert!(!updates.subscribe(version).1);
        updates.publish(Update::Tick);
        assert!(!updates.subscribe(version).1, "a tick changes no call");
        updates.publish(Update::Calls(Arc::new([])));
        assert!(updates.subscribe(version).1);
    }

    #[tokio::test]
    async fn a_slow_viewer_keeps_at_most_one_queue_of_updates() {
        let updates = Broadcast::default();
        let (mut viewer, _) = updates.subscribe(0);
        for _ in 0..VIEWER_QUEUE * 3 {
            updates.publish(Update::Tick);
        }
        assert!(matches!(viewer.recv().await, Err(broadcast::error::RecvError::Lagged(_))));
    }
}
