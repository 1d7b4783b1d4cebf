//! Cache of the overview's figures. Counting is expensive, so all viewers share its result.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio_util::task::TaskTracker;

use super::broadcast::Health;
use crate::store::views::{Figures, Views, Window};

/// Age before which figures are not counted again.
const MIN_AGE: Duration = Duration::from_secs(5);
/// The pause after a count is at least this many times as long as the count. So counting the calls of one
/// window takes less than 5 % of the database's time.
const COUNT_DURATIONS: u32 = 20;
/// How long a page waits for figures that were never counted.
const FIRST_COUNT_TIMEOUT: Duration = Duration::from_millis(400);
/// Interval at which a waiting page checks for the first figures.
const FIRST_COUNT_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Figures by window. Cheap to clone.
#[derive(Clone, Default)]
pub struct FiguresCache(Arc<Mutex<HashMap<Window, Entry>>>);

#[derive(Default)]
struct Entry {
    figures: Option<Arc<Figures>>,
    /// When the latest count ended, and how long it took.
    counted: Option<(Instant, Duration)>,
    counting: bool,
}

impl Entry {
    fn is_due(&self) -> bool {
        !self.counting
            && self.counted.is_none_or(|(at, took)| at.elapsed() > MIN_AGE.max(took * COUNT_DURATIONS))
    }
}

impl FiguresCache {
    /// The known figures. Old figures are returned at once and counted again in the background. `None`: the
    /// first count takes longer than a page waits.
    pub async fn get(
        &self,
        views: &Views,
        health: Health,
        tasks: &TaskTracker,
        window: Window,
    ) -> Option<Arc<Figures>> {
        let known = {
            let mut entries = self.lock();
            let entry = entries.entry(window).or_default();
            if entry.is_due() && health.mongodb {
                entry.counting = true;
                let (cache, views) = (self.clone(), views.clone());
                tasks.spawn(async move { cache.count(&views, window).await });
            }
            entry.figures.clone()
        };
        if known.is_some() {
            return known;
        }
        let first = async {
            loop {
                tokio::time::sleep(FIRST_COUNT_POLL_INTERVAL).await;
                if let Some(figures) = self.lock().get(&window).and_then(|entry| entry.figures.clone()) {
                    return figures;
                }
            }
        };
        tokio::time::timeout(FIRST_COUNT_TIMEOUT, first).await.ok()
    }

    async fn count(&self, views: &Views, window: Window) {
        let started = Instant::now();
        let figures = views.figures(window, Timestamp::now()).await;
        let mut entries = self.lock();
        let entry = entries.entry(window).or_default();
        entry.counting = false;
        entry.counted = Some((Instant::now(), started.elapsed()));
        match figures {
            Ok(figures) => entry.figures = Some(Arc::new(figures)),
            Err(error) => tracing::warn!(%error, "the calls were not counted for the console's overview"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Window, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
