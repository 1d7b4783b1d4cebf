//! Reads the change stream of the calls and broadcasts the changed calls.
//!
//! One change stream, open while a viewer is connected, serves all viewers: a changed call is read once and
//! rendered once. The queue between stream and reader is bounded. When it overflows, or too many calls
//! change at once, all viewers get [`Update::Resync`] instead of single updates.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use aftercall_common::phone_numbers::Numbers;
use jiff::Timestamp;
use mongodb::bson::oid::ObjectId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    broadcast::{Broadcast, CallUpdate, Update},
    frame::frame,
};
use crate::{
    retry::Pauses,
    roles::console::view::row,
    store::{
        StoreError,
        views::{Change, Views},
    },
};

/// Changes that wait between the change stream and their reader.
const CHANGE_QUEUE: usize = 1024;
/// Most calls that are sent one by one; if more changed, viewers reload.
const MAX_UPDATES: usize = 25;
/// How long further changes are collected after the first one.
const COLLECT_TIME: Duration = Duration::from_millis(30);
/// Shortest time between two broadcasts of calls.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// How long the change stream stays open without a viewer. A viewer that moves to another page is
/// disconnected for a moment.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the number of viewers is checked while no call changes.
const VIEWER_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest time between two resyncs. It grows with the number of viewers, because each of them reloads a
/// page.
const MIN_RESYNC_INTERVAL: Duration = Duration::from_millis(300);
const RESYNC_INTERVAL_PER_VIEWER: Duration = Duration::from_millis(1);
const MAX_RESYNC_INTERVAL: Duration = Duration::from_secs(2);
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(250);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(3);

/// Watches the calls whenever a viewer is connected, until `stop`.
pub async fn run(broadcast: &Broadcast, views: &Views, numbers: Numbers, stop: &CancellationToken) {
    let mut pauses = Pauses::endless(FIRST_RETRY_DELAY, MAX_RETRY_DELAY);
    while !stop.is_cancelled() {
        if broadcast.viewers() == 0 {
            let _stopped = stop.run_until_cancelled(broadcast.viewer_connected()).await;
            continue;
        }
        match watch(broadcast, views, numbers, stop).await {
            Ok(()) => pauses.reset(),
            Err(error) => {
                tracing::warn!(%error, "the console cannot watch changes of calls; trying again");
                pauses.sleep(stop).await;
            }
        }
    }
}

/// Reads the change stream until no viewer has been connected for [`IDLE_TIMEOUT`].
async fn watch(
    broadcast: &Broadcast,
    views: &Views,
    numbers: Numbers,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    let mut changes = views.watch().await?;
    let (sender, mut receiver) = mpsc::channel(CHANGE_QUEUE);
    let (idle, overflowed) = (stop.child_token(), Arc::new(AtomicBool::new(false)));
    let reading = views.spawn({
        let (idle, overflowed) = (idle.clone(), overflowed.clone());
        async move {
            while !idle.is_cancelled() {
                if let Some(change) = changes.next().await?
                    && sender.try_send(change).is_err()
                {
                    overflowed.store(true, Ordering::SeqCst);
                }
            }
            Ok(())
        }
    });
    broadcast.set_watching(true);
    broadcast.publish(Update::Resync); // The stream does not contain earlier changes.
    forward(broadcast, views, numbers, &mut receiver, &overflowed, &idle).await;
    broadcast.set_watching(false);
    idle.cancel();
    drop(receiver);
    // The reader ends after the next answer of the database, or when the driver gives up. The result is used
    // only if the reader has already ended.
    if reading.is_finished() { reading.await.unwrap_or(Ok(())) } else { Ok(()) }
}

/// Broadcasts changes until no viewer has been connected for [`IDLE_TIMEOUT`], or the change stream ends.
async fn forward(
    broadcast: &Broadcast,
    views: &Views,
    numbers: Numbers,
    changes: &mut mpsc::Receiver<Change>,
    overflowed: &AtomicBool,
    stop: &CancellationToken,
) {
    let (mut last_resync, mut last_viewer) = (Instant::now(), Instant::now());
    loop {
        if broadcast.viewers() > 0 {
            last_viewer = Instant::now();
        } else if last_viewer.elapsed() > IDLE_TIMEOUT {
            return;
        }
        let first = tokio::time::timeout(VIEWER_CHECK_INTERVAL, changes.recv());
        let first = match stop.run_until_cancelled(first).await {
            None | Some(Ok(None)) => return,
            Some(Err(_elapsed)) => continue,
            Some(Ok(Some(first))) => first,
        };
        if broadcast.viewers() == 0 {
            broadcast.skip_version();
            continue;
        }
        tokio::time::sleep(COLLECT_TIME).await;
        let latest = collect(first, changes);
        let updates = if overflowed.swap(false, Ordering::SeqCst) || latest.len() > MAX_UPDATES {
            None
        } else {
            render(views, numbers, latest).await
        };
        if let Some(calls) = updates {
            broadcast.publish(Update::Calls(calls));
        } else {
            let interval = resync_interval(broadcast.viewers());
            tokio::time::sleep(interval.saturating_sub(last_resync.elapsed())).await;
            // The reload shows these changes too.
            while changes.try_recv().is_ok() {}
            last_resync = Instant::now();
            broadcast.publish(Update::Resync);
        }
        tokio::time::sleep(MIN_INTERVAL).await;
    }
}

/// Collects `first` and all waiting changes. The result says for each document whether it was deleted.
fn collect(first: Change, changes: &mut mpsc::Receiver<Change>) -> BTreeMap<ObjectId, bool> {
    let mut latest = BTreeMap::new();
    let mut add = |change| match change {
        Change::Saved(id) => latest.insert(id, false),
        Change::Gone(id) => latest.insert(id, true),
    };
    add(first);
    while let Ok(change) = changes.try_recv() {
        add(change);
    }
    latest
}

fn resync_interval(viewers: usize) -> Duration {
    let interval = RESYNC_INTERVAL_PER_VIEWER.saturating_mul(u32::try_from(viewers).unwrap_or(u32::MAX));
    interval.clamp(MIN_RESYNC_INTERVAL, MAX_RESYNC_INTERVAL)
}

/// Reads the changed calls and renders them once for all viewers. `None`: the database did not answer.
async fn render(
    views: &Views,
    numbers: Numbers,
    changed: BTreeMap<ObjectId, bool>,
) -> Option<Arc<[CallUpdate]>> {
    let saved: Vec<_> = changed.iter().filter(|(_, deleted)| !**deleted).map(|(id, _)| *id).collect();
    let rows = if saved.is_empty() { Vec::new() } else { views.rows(saved).await.ok()? };
    let mut updates: Vec<_> = changed
        .into_iter()
        .filter(|(_, deleted)| *deleted)
        .map(|(id, _)| {
            let gone = frame("gone", &id.to_hex());
            CallUpdate { id, row: None, row_frame: gone.clone(), left_frame: gone }
        })
        .collect();
    let now = Timestamp::now();
    for call in rows {
        let html = row::html(&call, numbers, now);
        let (row_frame, left_frame) = (frame("row", &html), frame("left", &html));
        updates.push(CallUpdate { id: call.id, row: Some(call), row_frame, left_frame });
    }
    Some(updates.into())
}
