//! The state that all requests to the console share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aftercall_common::{phone_numbers::Numbers, process::broker::is_connected};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    access::{auth::Access, number_searches::NumberSearches, stream_limits::StreamLimits},
    live::{
        broadcast::{Broadcast, Health, Update},
        broker_samples::BrokerSamples,
        choices::ChoicesCache,
        figures::FiguresCache,
        letter_work::LetterWork,
    },
};
use crate::{
    Context,
    dead_letters::IndexedLetters,
    elevenlabs::ElevenLabs,
    store::views::{BatchFigures, Figures, PeriodFigures, Views, Window},
};

/// Longest time that a page waits for the index of dead letters. Then it shows what is known.
const INDEX_TIMEOUT: Duration = Duration::from_millis(50);

/// The data, settings and connections from which pages are made.
pub struct Console {
    pub context: Arc<Context>,
    /// The API of ElevenLabs. `None`: `ELEVENLABS_API_KEY` is not set.
    pub api: Option<ElevenLabs>,
    pub views: Views,
    pub access: Access,
    /// Whether telephone numbers are shown whole or masked.
    pub numbers: Numbers,
    pub broadcast: Broadcast,
    pub stream_limits: StreamLimits,
    pub number_searches: NumberSearches,
    /// Whether MongoDB answered the latest ping.
    pub mongodb: AtomicBool,
    pub broker: BrokerSamples,
    /// The numbers of the dead letters by group.
    pub letters: IndexedLetters,
    /// The latest work on many dead letters.
    pub letter_work: LetterWork,
    pub choices: ChoicesCache,
    pub figures: FiguresCache<Window, Figures>,
    pub periods: FiguresCache<Window, PeriodFigures>,
    /// The sums of batches, by the id of the batch.
    pub batches: FiguresCache<String, BatchFigures>,
    /// Slots for exports.
    pub exports: Arc<Semaphore>,
    /// Background work that is awaited at the end.
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

impl Console {
    /// The servers that answer.
    pub fn health(&self) -> Health {
        Health { mongodb: self.mongodb.load(Ordering::Relaxed), nats: is_connected(&self.context.nats) }
    }

    /// Adds new dead letters to their index, as far as that takes a moment. Returns whether all are added: a slow or
    /// absent broker leaves the index as it was.
    pub async fn update_letters(&self) -> bool {
        let update = self.letters.update(&self.context.jetstream, false);
        matches!(tokio::time::timeout(INDEX_TIMEOUT, update).await, Ok(Ok(())))
    }

    /// Counts the dead letters, and tells all pages if their number has changed.
    pub async fn count_dead_letters(&self) {
        if let Some(count) = self.broker.update_dead_letters(&self.context.jetstream).await {
            self.broadcast.publish(Update::DeadLetters(count));
        }
    }
}
