//! The leader: follows the change stream. If the oplog no longer has the changes since the stored position, it scans
//! the calls.

use std::{
    ops::RangeInclusive,
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
    retry::Pauses,
    store::{CallChange, CallChanges, ChangesError, Position, ScanPage, Scanned, StoreError},
};

/// Changes that wait between the change stream and the publisher.
const QUEUE: usize = 1024;
/// Most calls that are read and published together. It bounds the memory for them.
const MAX_CALLS: usize = 256;
/// Most changed calls that are collected before they are published.
const MAX_COLLECTED: usize = 32_768;
/// How long changes are collected while many wait. A call that changes several times in a backlog is read and
/// published once, and the worker drains the backlog faster.
const COLLECT_TIME: Duration = Duration::from_secs(5);
/// Shortest time between two writes of the position while calls change. Changes after the stored position are
/// published again by the next leader, and the broker drops them.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest time between two writes of the position while no call changes. The position must not become older than the
/// history of the database.
const IDLE_SAVE_INTERVAL: Duration = Duration::from_secs(30);
/// How far before the last position a scan begins. Revisions come from the clocks of the workers.
const CLOCK_MARGIN: Duration = Duration::from_hours(1);
/// How far before the first start of the role the first scan begins. Earlier calls are not published.
const FIRST_MARGIN: Duration = Duration::from_mins(5);
/// Documents in a page of a scan, at most and at least. A page that does not come in time is read again with half of
/// them, because documents may be large and disks slow.
const SCAN_PAGE: RangeInclusive<u32> = 50..=2_000;
/// Interval of the log lines about a scan.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// First and longest pause after an error of the database.
pub(super) const FIRST_RETRY_DELAY: Duration = Duration::from_millis(200);
pub(super) const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

/// A change that was read, with the position after it. `None`: no call changed for a while.
type ReadChange = (Option<CallChange>, Position);

/// Publishes changes until `stop`.
///
/// # Errors
/// The database failed, or its history was lost: the caller begins again.
pub(super) async fn lead(context: &Arc<Context>, stop: &CancellationToken) -> Result<(), ChangesError> {
    let stored = match context.store.deliver_position().await? {
        Some(stored) => stored,
        None => first_position(context).await?,
    };
    let (changes, scan_since) = open(context, stored).await?;
    let mut publisher = Publisher::new(context, stop);
    tracing::info!("this worker publishes changes of calls to the stream CALLS");
    if let Some(since) = scan_since {
        scan(context, &mut publisher, since, stop).await?;
        if stop.is_cancelled() {
            return Ok(());
        }
        let position = changes.position();
        // If the driver has no token yet, the first change brings it. A leader that starts before that scans again.
        if position.token.is_some() {
            context.store.save_deliver_position(&position).await?;
        }
    }
    follow(context, &mut publisher, changes, stop).await
}

/// The position at the first start of the role. It is stored before the first scan, so that a scan that does not end
/// begins at the same time again.
async fn first_position(context: &Context) -> Result<Position, StoreError> {
    let position = Position { token: None, time: before(Timestamp::now(), FIRST_MARGIN) };
    context.store.save_deliver_position(&position).await?;
    Ok(position)
}

/// Opens the change stream after `stored`. Returns also the time since which calls have to be scanned, if
/// the stream does not have every change.
async fn open(context: &Context, stored: Position) -> Result<(CallChanges, Option<Timestamp>), ChangesError> {
    let since = if stored.token.is_none() {
        stored.time
    } else {
        match context.store.changes_since(stored.clone()).await {
            Ok(changes) => return Ok((changes, None)),
            Err(ChangesError::HistoryLost) => {}
            Err(error) => return Err(error),
        }
        let since = before(stored.time, CLOCK_MARGIN);
        tracing::warn!(
            %since,
            "MongoDB no longer has all changes since the last published one: every call that changed since is \
             published"
        );
        since
    };
    // The stream is opened before the scan, so that it has every change that the scan does not see.
    let begin = Position { token: None, time: Timestamp::now() };
    Ok((context.store.changes_since(begin).await?, Some(since)))
}

/// Publishes the state of every call that changed since `since`, until `stop`.
async fn scan(
    context: &Context,
    publisher: &mut Publisher<'_>,
    since: Timestamp,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    let (mut calls, mut size, mut logged_at) = (0, *SCAN_PAGE.end(), Instant::now());
    for scanned in [Scanned::Calls, Scanned::Erased] {
        let mut last = None;
        loop {
            let Some(page) = scan_page(context, scanned, since, last, &mut size, stop).await? else {
                return Ok(());
            };
            calls += page.changed.len();
            let changed: Collected =
                page.changed.into_iter().map(|id| found_by_scan(scanned, id, since)).collect();
            for part in changed.parts(MAX_CALLS) {
                publisher.publish(&part).await?;
                if stop.is_cancelled() {
                    return Ok(());
                }
            }
            if logged_at.elapsed() >= PROGRESS_INTERVAL {
                tracing::info!(calls, %since, "publishing the calls that changed");
                logged_at = Instant::now();
            }
            last = page.next;
            if last.is_none() {
                break;
            }
        }
    }
    if calls > 0 {
        tracing::info!(calls, %since, "published the calls that changed");
    }
    Ok(())
}

/// One page of a scan with `size` documents. While the database does not answer, the page is read again, so that a long
/// scan goes on where it is. `None`: the process stops.
async fn scan_page(
    context: &Context,
    scanned: Scanned,
    since: Timestamp,
    last: Option<ObjectId>,
    size: &mut u32,
    stop: &CancellationToken,
) -> Result<Option<ScanPage>, StoreError> {
    let mut pauses = Pauses::endless(FIRST_RETRY_DELAY, MAX_RETRY_DELAY);
    while !stop.is_cancelled() {
        match context.store.scan(scanned, since.as_millisecond(), last, *size).await {
            Ok(page) => {
                *size = (*size + SCAN_PAGE.start()).min(*SCAN_PAGE.end());
                return Ok(Some(page));
            }
            Err(error @ StoreError::Unavailable(_)) => {
                *size = (*size / 2).max(*SCAN_PAGE.start());
                tracing::warn!(%error, "changed calls are not read; trying again");
                pauses.sleep(stop).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The change of a document that a scan since `since` found. The scan does not know which fields changed, so it gives
/// every event.
fn found_by_scan(scanned: Scanned, id: ObjectId, since: Timestamp) -> CallChange {
    if scanned == Scanned::Erased {
        return CallChange { id, events: vec![EventType::Erased] };
    }
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
    let mut keeper = PositionKeeper::new(context);
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let reading = context.store.spawn({
        let stop = stop.clone();
        async move {
            while !stop.is_cancelled() {
                let read = changes.next().await?;
                if sender.send(read).await.is_err() {
                    break; // The publisher has stopped.
                }
            }
            Ok(())
        }
    });
    'published: while let Some((collected, position)) = next_changes(&mut receiver).await {
        let has_changes = !collected.0.is_empty();
        for part in collected.parts(MAX_CALLS) {
            publisher.publish(&part).await?;
            if stop.is_cancelled() {
                break 'published; // It is unknown whether the changes were published.
            }
        }
        keeper.advance(position, has_changes).await?;
    }
    drop(receiver);
    keeper.save().await?;
    // The reader ends after the next answer of the database.
    reading.await.unwrap_or_else(|error| {
        Err(StoreError::Unavailable(format!("the reader of the change stream ended: {error}")).into())
    })
}

/// The next changes with the position after them. If [`MAX_CALLS`] changes wait, further ones are collected for up to
/// [`COLLECT_TIME`]. `None`: the reader has ended.
async fn next_changes(receiver: &mut mpsc::Receiver<ReadChange>) -> Option<(Collected, Position)> {
    let mut batch = Vec::with_capacity(MAX_CALLS);
    let mut collects_more = receiver.recv_many(&mut batch, MAX_CALLS).await == MAX_CALLS;
    let deadline = tokio::time::Instant::now() + COLLECT_TIME;
    let (mut collected, mut last) = (Collected::default(), None);
    loop {
        last = batch.last().map(|(_, position)| position.clone()).or(last);
        collected.extend(batch.drain(..).filter_map(|(change, _)| change));
        if !collects_more || collected.0.len() >= MAX_COLLECTED {
            return last.map(|position| (collected, position));
        }
        let receiving = tokio::time::timeout_at(deadline, receiver.recv_many(&mut batch, MAX_CALLS));
        collects_more = receiving.await.is_ok_and(|received| received > 0);
    }
}

/// Keeps the position after the last published change, and stores it at intervals.
struct PositionKeeper<'a> {
    context: &'a Context,
    /// `None`: nothing was published since the stream was opened.
    position: Option<Position>,
    saved_at: Instant,
    /// Whether changes were published since the position was stored.
    is_behind: bool,
}

impl<'a> PositionKeeper<'a> {
    fn new(context: &'a Context) -> Self {
        Self { context, position: None, saved_at: Instant::now(), is_behind: false }
    }

    /// Notes that everything before `position` is published, and stores it if the interval is over.
    async fn advance(&mut self, position: Position, has_changes: bool) -> Result<(), StoreError> {
        self.position = Some(position);
        self.is_behind |= has_changes;
        let interval = if self.is_behind { SAVE_INTERVAL } else { IDLE_SAVE_INTERVAL };
        if self.saved_at.elapsed() >= interval { self.save().await } else { Ok(()) }
    }

    async fn save(&mut self) -> Result<(), StoreError> {
        (self.saved_at, self.is_behind) = (Instant::now(), false);
        match &self.position {
            Some(position) => self.context.store.save_deliver_position(position).await,
            None => Ok(()),
        }
    }
}
