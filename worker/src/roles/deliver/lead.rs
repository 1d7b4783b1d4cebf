//! The leader: follows the change stream, and scans the calls if the stream no longer reaches back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use mongodb::bson::oid::ObjectId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{collect::Collected, publish::Publisher};
use crate::{
    Context,
    domain::{delivery::EventType, time::before},
    store::{CallChange, CallChanges, CallView, ChangesError, Position, StoreError},
};

/// Changes that wait between the change stream and the publisher.
const QUEUE: usize = 1024;
/// Most calls that are published together. It bounds the memory for them.
const MAX_CALLS: usize = 256;
/// Most changed calls that are collected before they are published.
const MAX_COLLECTED: usize = 32_768;
/// How long changes are collected while many wait. A call that changes several times in a backlog is read and
/// published once, and the worker drains the backlog faster.
const COLLECT_TIME: Duration = Duration::from_secs(5);
/// Shortest time between two writes of the position while calls change. Changes behind the stored position are
/// published again by the next leader, and the broker drops them.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// The same while no call changes: a position must not become older than the history of the database.
const IDLE_SAVE_INTERVAL: Duration = Duration::from_secs(30);
/// How far before the last position a scan begins. Revisions come from the clocks of the workers.
const CLOCK_MARGIN: Duration = Duration::from_hours(1);
/// How far before the first start of the role the first scan begins. Earlier calls are not published.
const FIRST_MARGIN: Duration = Duration::from_mins(5);

/// A change that was read, with the position behind it. `None`: nothing changed for a while.
type Read = (Option<CallChange>, Position);

/// Publishes changes until `stop`.
///
/// # Errors
/// The database failed, or its history was lost: the caller begins again.
pub(super) async fn lead(context: &Arc<Context>, stop: &CancellationToken) -> Result<(), ChangesError> {
    let stored = context.store.deliver_position().await?;
    let (changes, scan_since) = open(context, stored).await?;
    let mut publisher = Publisher::new(context, stop);
    tracing::info!("this worker publishes changes of calls to the stream CALLS");
    if let Some(since) = scan_since {
        scan(context, &mut publisher, since, stop).await?;
        if stop.is_cancelled() {
            return Ok(());
        }
        context.store.save_deliver_position(changes.position()).await?;
    }
    follow(context, &mut publisher, changes, stop).await
}

/// Opens the change stream behind `stored`. Returns also the time since which calls have to be scanned, if
/// the stream does not have every change.
async fn open(
    context: &Context,
    stored: Option<Position>,
) -> Result<(CallChanges, Option<Timestamp>), ChangesError> {
    let since = match stored {
        None => before(Timestamp::now(), FIRST_MARGIN),
        Some(Position { token, time }) => match context.store.changes_since(Some(token)).await {
            Ok(changes) => return Ok((changes, None)),
            Err(ChangesError::HistoryLost) => {
                tracing::warn!(
                    since = %time,
                    "MongoDB no longer has all changes since the last published one: every call that changed \
                     since is published again"
                );
                before(time, CLOCK_MARGIN)
            }
            Err(error) => return Err(error),
        },
    };
    // The stream is opened before the scan, so that it has every change that the scan does not see.
    Ok((context.store.changes_since(None).await?, Some(since)))
}

/// Publishes the state of every call that changed since `since`.
async fn scan(
    context: &Context,
    publisher: &mut Publisher<'_>,
    since: Timestamp,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    let revision = since.as_millisecond();
    let mut last = None;
    let mut count = 0_u64;
    while !stop.is_cancelled() {
        let calls = context.store.changed_since(revision, last).await?;
        let changed = calls.iter().filter_map(|call| Some(since_scan(call.object_id()?, since)));
        let changed: Collected = changed.collect();
        let Some((end, _)) = changed.0.last() else { break };
        last = Some(*end);
        count += changed.0.len() as u64;
        publisher.publish(&changed).await?;
    }
    let erased = context.store.erased_since(revision).await?;
    let erasure = |id| CallChange { id, events: vec![EventType::Erased] };
    let erased: Collected = erased.iter().filter_map(CallView::object_id).map(erasure).collect();
    publisher.publish(&erased).await?;
    if count > 0 {
        tracing::info!(calls = count, since = %since, "published the calls that changed");
    }
    Ok(())
}

/// The change of a call that a scan since `since` found. Its parts may all have changed.
fn since_scan(id: ObjectId, since: Timestamp) -> CallChange {
    let is_new = id.timestamp().timestamp_millis() >= since.as_millisecond();
    let created = is_new.then_some(EventType::Created);
    CallChange { id, events: created.into_iter().chain(EventType::OF_A_CHANGE).collect() }
}

/// Publishes the changes of the stream until `stop`.
async fn follow(
    context: &Arc<Context>,
    publisher: &mut Publisher<'_>,
    mut changes: CallChanges,
    stop: &CancellationToken,
) -> Result<(), ChangesError> {
    let mut saved = Saved::new(context, changes.position().clone());
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let reading = context.store.spawn({
        let stop = stop.clone();
        async move {
            while !stop.is_cancelled() {
                let change = changes.next().await?;
                if sender.send((change, changes.position().clone())).await.is_err() {
                    break; // The publisher has stopped.
                }
            }
            Ok(())
        }
    });
    while let Some((collected, position)) = next_changes(&mut receiver).await {
        let has_changes = !collected.0.is_empty();
        for part in collected.parts(MAX_CALLS) {
            publisher.publish(&part).await?;
        }
        if stop.is_cancelled() {
            break; // The changes may not be published.
        }
        saved.advance(position, has_changes).await?;
    }
    drop(receiver);
    saved.save().await?;
    // The reader ends after the next answer of the database.
    reading.await.unwrap_or(Ok(()))
}

/// The next changes with the position behind them. If many wait, further ones are collected for a while. `None`: the
/// reader has ended.
async fn next_changes(receiver: &mut mpsc::Receiver<Read>) -> Option<(Collected, Position)> {
    let mut batch = Vec::with_capacity(MAX_CALLS);
    let mut goes_on = receiver.recv_many(&mut batch, MAX_CALLS).await == MAX_CALLS;
    let deadline = tokio::time::Instant::now() + COLLECT_TIME;
    let (mut collected, mut last) = (Collected::default(), None);
    loop {
        last = batch.last().map(|(_, position)| position.clone()).or(last);
        collected.extend(batch.drain(..).filter_map(|(change, _)| change));
        if !goes_on || collected.0.len() >= MAX_COLLECTED {
            return last.map(|position| (collected, position));
        }
        let receiving = tokio::time::timeout_at(deadline, receiver.recv_many(&mut batch, MAX_CALLS));
        goes_on = receiving.await.is_ok_and(|received| received > 0);
    }
}

/// The position of the last published change, and its stored copy.
struct Saved<'a> {
    context: &'a Context,
    position: Position,
    at: Instant,
    /// Whether changes were published since.
    is_behind: bool,
}

impl<'a> Saved<'a> {
    fn new(context: &'a Context, position: Position) -> Self {
        Self { context, position, at: Instant::now(), is_behind: false }
    }

    /// Notes that everything before `position` is published, and stores it now and then.
    async fn advance(&mut self, position: Position, has_changes: bool) -> Result<(), StoreError> {
        self.position = position;
        self.is_behind |= has_changes;
        let interval = if self.is_behind { SAVE_INTERVAL } else { IDLE_SAVE_INTERVAL };
        if self.at.elapsed() >= interval { self.save().await } else { Ok(()) }
    }

    async fn save(&mut self) -> Result<(), StoreError> {
        (self.at, self.is_behind) = (Instant::now(), false);
        self.context.store.save_deliver_position(&self.position).await
    }
}
