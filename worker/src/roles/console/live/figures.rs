//! Cache of figures, such as those of a window or of a batch. Counting is expensive, so all viewers share its result.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::store::StoreError;

/// Age before which figures are not counted again.
const MIN_AGE: Duration = Duration::from_secs(5);
/// The pause after a count is at least this many times as long as the count. So counting for one key takes less
/// than 5 % of the database's time.
const COUNT_DURATIONS: u32 = 20;
/// How long a page waits for figures that were never counted.
const FIRST_COUNT_TIMEOUT: Duration = Duration::from_millis(80);
/// Interval at which a waiting page checks for the first figures.
const FIRST_COUNT_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Most figures that are kept. Of more, those that were counted longest ago are forgotten.
const MAX_ENTRIES: usize = 64;
/// Most counts at the same time.
const MAX_COUNTS: usize = 3;

/// Figures by key. Cheap to clone.
pub struct FiguresCache<K, T> {
    entries: Arc<Mutex<HashMap<K, Entry<T>>>>,
    /// Slots for counts.
    slots: Arc<Semaphore>,
}

struct Entry<T> {
    figures: Option<Arc<T>>,
    /// When the latest count ended, and how long it took.
    counted: Option<(Instant, Duration)>,
    counting: bool,
}

impl<K, T> Default for FiguresCache<K, T> {
    fn default() -> Self {
        Self { entries: Arc::default(), slots: Arc::new(Semaphore::new(MAX_COUNTS)) }
    }
}

impl<K, T> Clone for FiguresCache<K, T> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone(), slots: self.slots.clone() }
    }
}

impl<T> Default for Entry<T> {
    fn default() -> Self {
        Self { figures: None, counted: None, counting: false }
    }
}

impl<T> Entry<T> {
    fn is_due(&self) -> bool {
        !self.counting
            && self.counted.is_none_or(|(at, took)| at.elapsed() > MIN_AGE.max(took * COUNT_DURATIONS))
    }
}

impl<K: Clone + Eq + Hash + Send + 'static, T: Send + Sync + 'static> FiguresCache<K, T> {
    /// The known figures. Old figures are returned at once and counted again in the background by `count`, if
    /// `can_count`. `None`: the first count takes longer than a page waits, or waits for other counts.
    pub async fn get(
        &self,
        tasks: &TaskTracker,
        can_count: bool,
        key: K,
        count: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Option<Arc<T>> {
        let known = {
            let mut entries = self.lock();
            if entries.len() >= MAX_ENTRIES && !entries.contains_key(&key) {
                forget_oldest(&mut entries);
            }
            let entry = entries.entry(key.clone()).or_default();
            if entry.is_due()
                && can_count
                && let Ok(slot) = self.slots.clone().try_acquire_owned()
            {
                entry.counting = true;
                let (cache, key) = (self.clone(), key.clone());
                tasks.spawn(async move {
                    cache.count(key, count).await;
                    drop(slot);
                });
            }
            entry.figures.clone()
        };
        if known.is_some() {
            return known;
        }
        let first = async {
            loop {
                tokio::time::sleep(FIRST_COUNT_POLL_INTERVAL).await;
                if let Some(figures) = self.lock().get(&key).and_then(|entry| entry.figures.clone()) {
                    return figures;
                }
            }
        };
        tokio::time::timeout(FIRST_COUNT_TIMEOUT, first).await.ok()
    }

    async fn count(&self, key: K, count: impl Future<Output = Result<T, StoreError>>) {
        let started = Instant::now();
        let figures = count.await;
        let mut entries = self.lock();
        let entry = entries.entry(key).or_default();
        entry.counting = false;
        entry.counted = Some((Instant::now(), started.elapsed()));
        match figures {
            Ok(figures) => entry.figures = Some(Arc::new(figures)),
            Err(error) => tracing::warn!(%error, "the calls were not counted for a page of the console"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Entry<T>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets the figures that were counted longest ago. A key that is being counted stays.
fn forget_oldest<K: Clone + Eq + Hash, T>(entries: &mut HashMap<K, Entry<T>>) {
    let idle = entries.iter().filter(|(_, entry)| !entry.counting);
    let oldest = idle.min_by_key(|(_, entry)| entry.counted.map(|(at, _)| at)).map(|(key, _)| key.clone());
    if let Some(oldest) = oldest {
        entries.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cache_keeps_and_counts_a_bounded_number() {
        let (cache, tasks) = (FiguresCache::<usize, usize>::default(), TaskTracker::new());
        for key in 0..3 * MAX_ENTRIES {
            let counted = cache.get(&tasks, true, key, async move { Ok(key) }).await;
            assert_eq!(counted.as_deref(), Some(&key));
            assert!(cache.lock().len() <= MAX_ENTRIES);
        }
        let known = cache.get(&tasks, false, 3 * MAX_ENTRIES - 1, async { Ok(0) }).await;
        assert_eq!(known.as_deref(), Some(&(3 * MAX_ENTRIES - 1)), "the latest one is kept");
        for key in 1000..1000 + MAX_COUNTS + 2 {
            assert_eq!(cache.get(&tasks, true, key, std::future::pending()).await, None);
        }
        assert_eq!(cache.slots.available_permits(), 0);
        assert_eq!(cache.lock().values().filter(|entry| entry.counting).count(), MAX_COUNTS);
    }
}
