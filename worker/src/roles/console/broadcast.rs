//! What happens, told to everybody who looks.
//!
//! One change stream, opened while somebody looks, serves all viewers: a changed call is read once and
//! written as HTML once. The queue between is bounded; a viewer that is too slow, and everybody when
//! there is too much, is told to look for themselves ([`News::Resync`]).

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aftercall_common::phone_numbers::Numbers;
use bytes::Bytes;
use jiff::Timestamp;
use mongodb::bson::oid::ObjectId;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::{calls, sse};
use crate::{
    retry::Pauses,
    store::{
        StoreError,
        views::{CallRow, Change, Views},
    },
};

/// News kept for a viewer that is slow.
const KEPT: usize = 64;
/// Changes kept between the stream and their reading.
const CHANGES: usize = 1024;
/// Changes told one by one; more at a time, and viewers look for themselves.
const TOLD: usize = 25;
/// How long changes gather after the first.
const GATHER: Duration = Duration::from_millis(30);
/// Shortest time between two tellings.
const PACE: Duration = Duration::from_millis(100);
/// How long the watch goes on with nobody looking: whoever goes from page to page is gone for a moment.
const LINGER: Duration = Duration::from_secs(30);
/// Shortest time between two requests to look for themselves: some, and more the more there are to look.
const RESYNC_PACE: Duration = Duration::from_millis(300);
const RESYNC_PACE_A_VIEWER: Duration = Duration::from_millis(1);
/// Beyond that nobody is kept waiting.
const RESYNC_PACE_MOST: Duration = Duration::from_secs(2);
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(3);

/// Something viewers want to know. Cheap to clone.
#[derive(Clone, Debug)]
pub enum News {
    /// These calls changed.
    Calls(Arc<[CallNews]>),
    /// More happened than is told: look for yourself.
    Resync,
    /// Which servers answer changed.
    Health(Health),
    /// So many dead letters are there now.
    Letters(u64),
    /// Time has passed.
    Tick,
}

/// A changed call.
#[derive(Debug)]
pub struct CallNews {
    /// Its document.
    pub id: ObjectId,
    /// What a list shows of it; none where it is gone.
    pub row: Option<CallRow>,
    /// The event for a list that shows it.
    pub shown: Bytes,
    /// The event for a list that does not show it, or no longer.
    pub left: Bytes,
}

/// Which servers answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// The database.
    pub mongodb: bool,
    /// The broker.
    pub nats: bool,
}

/// The place where news is told.
pub struct Live {
    news: broadcast::Sender<News>,
    told: AtomicU64,
    watching: AtomicBool,
    viewer_came: Notify,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            news: broadcast::Sender::new(KEPT),
            // Never the same in two processes: a page of the one may look on at the other.
            told: AtomicU64::new(rand::random_range(1..1 << 40)),
            watching: AtomicBool::new(false),
            viewer_came: Notify::new(),
        }
    }
}

impl Live {
    /// A viewer that has `seen` the state as of that number; whether it has to look anew first.
    pub fn view(&self, seen: u64) -> (broadcast::Receiver<News>, bool) {
        let receiver = self.news.subscribe();
        self.viewer_came.notify_one();
        // Where nobody watches yet, the watch tells everybody as it begins.
        let is_behind = self.watching.load(Ordering::SeqCst) && self.told.load(Ordering::SeqCst) != seen;
        (receiver, is_behind)
    }

    /// The number of the present state, for a page that is made from it. To be asked before the
    /// database is.
    pub fn seen(&self) -> u64 {
        self.told.load(Ordering::SeqCst)
    }

    /// Viewers at present.
    pub fn viewers(&self) -> usize {
        self.news.receiver_count()
    }

    /// Tells `news` to whoever looks.
    pub fn tell(&self, news: News) {
        if matches!(news, News::Calls(_) | News::Resync) {
            self.told.fetch_add(1, Ordering::SeqCst);
        }
        // An error says that nobody looks.
        let _nobody = self.news.send(news);
    }

    /// Watches the calls whenever somebody looks, until `stop`.
    pub async fn run(&self, views: &Views, numbers: Numbers, stop: &CancellationToken) {
        let mut pauses = Pauses::endless(RETRY_FIRST, RETRY_MOST);
        while !stop.is_cancelled() {
            if self.viewers() == 0 {
                let _stopped = stop.run_until_cancelled(self.viewer_came.notified()).await;
                continue;
            }
            match self.watch(views, numbers, stop).await {
                Ok(()) => pauses.reset(),
                Err(error) => {
                    tracing::warn!(%error, "changes of calls cannot be watched; trying again");
                    pauses.sleep(stop).await;
                }
            }
        }
    }

    /// Watches until nobody has looked for a while.
    async fn watch(
        &self,
        views: &Views,
        numbers: Numbers,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let mut changes = views.watch().await?;
        let (sender, mut receiver) = mpsc::channel(CHANGES);
        let (enough, overflown) = (stop.child_token(), Arc::new(AtomicBool::new(false)));
        let reading = views.spawn({
            let (enough, overflown) = (enough.clone(), overflown.clone());
            async move {
                while !enough.is_cancelled() {
                    if let Some(change) = changes.next().await?
                        && sender.try_send(change).is_err()
                    {
                        overflown.store(true, Ordering::SeqCst);
                    }
                }
                Ok(())
            }
        });
        self.watching.store(true, Ordering::SeqCst);
        self.tell(News::Resync); // What came before the watch began is not in it.
        self.forward(views, numbers, &mut receiver, &overflown, &enough).await;
        self.watching.store(false, Ordering::SeqCst);
        enough.cancel();
        drop(receiver);
        // The stream itself ends after its last answer, or when the driver gives up on the server.
        if reading.is_finished() { reading.await.unwrap_or(Ok(())) } else { Ok(()) }
    }

    /// Tells changes until nobody has looked for a while, or none come any more.
    async fn forward(
        &self,
        views: &Views,
        numbers: Numbers,
        changes: &mut mpsc::Receiver<Change>,
        overflown: &AtomicBool,
        stop: &CancellationToken,
    ) {
        let (mut resynced, mut looked) = (Instant::now(), Instant::now());
        loop {
            if self.viewers() > 0 {
                looked = Instant::now();
            } else if looked.elapsed() > LINGER {
                return;
            }
            let first = tokio::time::timeout(Duration::from_secs(1), changes.recv());
            let first = match stop.run_until_cancelled(first).await {
                None | Some(Ok(None)) => return,
                Some(Err(_nothing_yet)) => continue,
                Some(Ok(Some(first))) => first,
            };
            if self.viewers() == 0 {
                self.told.fetch_add(1, Ordering::SeqCst); // Whoever comes back has missed something.
                continue;
            }
            tokio::time::sleep(GATHER).await;
            let mut latest = BTreeMap::new();
            let mut add = |change| match change {
                Change::Saved(id) => latest.insert(id, false),
                Change::Gone(id) => latest.insert(id, true),
            };
            add(first);
            while let Ok(change) = changes.try_recv() {
                add(change);
            }
            let told = if overflown.swap(false, Ordering::SeqCst) || latest.len() > TOLD {
                None
            } else {
                read(views, numbers, latest).await
            };
            if let Some(calls) = told {
                self.tell(News::Calls(calls));
            } else {
                tokio::time::sleep(resync_pace(self.viewers()).saturating_sub(resynced.elapsed())).await;
                // What came meanwhile is seen by looking.
                while changes.try_recv().is_ok() {}
                resynced = Instant::now();
                self.tell(News::Resync);
            }
            tokio::time::sleep(PACE).await;
        }
    }
}

fn resync_pace(viewers: usize) -> Duration {
    let all = RESYNC_PACE_A_VIEWER.saturating_mul(u32::try_from(viewers).unwrap_or(u32::MAX));
    all.clamp(RESYNC_PACE, RESYNC_PACE_MOST)
}

/// The calls behind a batch of changes, written once for all viewers.
async fn read(views: &Views, numbers: Numbers, changed: BTreeMap<ObjectId, bool>) -> Option<Arc<[CallNews]>> {
    let saved: Vec<_> = changed.iter().filter(|(_, gone)| !**gone).map(|(id, _)| *id).collect();
    let rows = if saved.is_empty() { Vec::new() } else { views.rows(saved).await.ok()? };
    let mut news: Vec<_> = changed
        .into_iter()
        .filter(|(_, gone)| *gone)
        .map(|(id, _)| {
            let gone = sse::frame("gone", &id.to_hex());
            CallNews { id, row: None, shown: gone.clone(), left: gone }
        })
        .collect();
    let now = Timestamp::now();
    for row in rows {
        let html = calls::row_html(&row, numbers, now);
        let (shown, left) = (sse::frame("row", &html), sse::frame("left", &html));
        news.push(CallNews { id: row.id, row: Some(row), shown, left });
    }
    Some(news.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_viewer_looks_anew_only_where_it_missed_something() {
        let live = Live::default();
        let (mut viewer, is_behind) = live.view(0);
        assert!(!is_behind, "the watch has not begun: it tells everybody as it does");
        live.watching.store(true, Ordering::SeqCst);
        live.tell(News::Resync);
        assert!(matches!(viewer.recv().await, Ok(News::Resync)));
        let seen = live.seen();
        assert!(!live.view(seen).1);
        live.tell(News::Tick);
        assert!(!live.view(seen).1, "time alone changes no call");
        live.tell(News::Calls(Arc::new([])));
        assert!(live.view(seen).1);
    }

    #[tokio::test]
    async fn a_slow_viewer_costs_no_more_than_the_queue() {
        let live = Live::default();
        let (mut viewer, _) = live.view(0);
        for _ in 0..KEPT * 3 {
            live.tell(News::Tick);
        }
        assert!(matches!(viewer.recv().await, Err(broadcast::error::RecvError::Lagged(_))));
    }
}
