//! Keeps the index of the dead letters up to date, by their headers alone.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aftercall_common::contract::streams::{DEAD_LETTERS, header};
use async_nats::jetstream::{self, Message};

use super::{
    index::{Group, LetterIndex, Place},
    origin::origin,
    queue::BrokerUnavailable,
};
use crate::broker::scan::Scan;

/// Shortest time between two scans of the whole stream. Removals by others need one, new dead letters do not.
const RESCAN_INTERVAL: Duration = Duration::from_secs(5);

/// The index, and how far it has been read.
#[derive(Default)]
pub struct IndexedLetters {
    index: Mutex<LetterIndex>,
    /// Admits one update at a time.
    progress: tokio::sync::Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// The last number that was read.
    last: u64,
    rescanned: Option<Instant>,
}

impl IndexedLetters {
    /// The index as of the latest update.
    pub fn get(&self) -> MutexGuard<'_, LetterIndex> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what has changed. `rescans`: whether the whole stream is read again if others removed dead letters. May
    /// be dropped at any time: the next update goes on where this one was.
    pub async fn update(&self, context: &jetstream::Context, rescans: bool) -> Result<(), BrokerUnavailable> {
        let mut progress = self.progress.lock().await;
        let stream = context.get_stream(DEAD_LETTERS).await.map_err(BrokerUnavailable::new)?;
        let state = &stream.cached_info().state;
        if state.last_sequence < progress.last {
            *progress = Progress::default(); // The stream was made anew.
            *self.get() = LetterIndex::default();
        }
        self.get().remove_before(state.first_sequence);
        if state.last_sequence > progress.last {
            let mut scan = scan(context, progress.last + 1).await?;
            while let Some((number, message)) = scan.next().await.map_err(BrokerUnavailable::new)? {
                let (group, place) = described(&message);
                self.get().add(number, group, place);
                progress.last = number;
            }
            progress.last = progress.last.max(state.last_sequence);
        }
        if !rescans || self.get().is_complete(state.messages, state.last_sequence) {
            return Ok(());
        }
        if progress.rescanned.is_some_and(|at| at.elapsed() < RESCAN_INTERVAL) {
            return Ok(());
        }
        progress.rescanned = Some(Instant::now());
        let mut fresh = LetterIndex::default();
        let mut scan = scan(context, 1).await?;
        while let Some((number, message)) = scan.next().await.map_err(BrokerUnavailable::new)? {
            let (group, place) = described(&message);
            fresh.add(number, group, place);
            progress.last = progress.last.max(number);
        }
        *self.get() = fresh;
        Ok(())
    }
}

async fn scan(context: &jetstream::Context, from: u64) -> Result<Scan, BrokerUnavailable> {
    Scan::of_headers(context, DEAD_LETTERS, from).await.map_err(BrokerUnavailable::new)
}

/// The group of a dead letter, and where its message is stored.
fn described(message: &Message) -> (Group, Option<Place>) {
    let value = |name: &str| {
        message
            .headers
            .as_ref()
            .and_then(|headers| headers.get(name))
            .map_or("", async_nats::HeaderValue::as_str)
    };
    let subject = value(header::DEAD_SUBJECT);
    let origin = origin(value(header::DEAD_STREAM), value(header::DEAD_SEQUENCE), subject).ok();
    let group = Group::new(value(header::DEAD_REASON), value(header::DEAD_TYPE), subject);
    (group, origin.map(|origin| (origin.stream, origin.sequence)))
}
