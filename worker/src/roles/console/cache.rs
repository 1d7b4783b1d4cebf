//! What is expensive to know and shared by all who look: known for a while, then learned anew by one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::Console;
use crate::store::views::{Figures, Window};

/// How long the known reasons are offered before they are looked up again.
const REASONS_AGE: Duration = Duration::from_secs(15);
/// Shortest age of figures before they are counted again.
const FIGURES_AGE: Duration = Duration::from_secs(5);
/// Counting takes at most one part in so many of the database's time.
const COUNTING_SHARE: u32 = 20;
/// Longest a page waits for figures that were never counted.
const FIRST_FIGURES: Duration = Duration::from_millis(400);

/// The reasons for which calls have failed.
#[derive(Default)]
pub struct Reasons(tokio::sync::Mutex<Option<(Instant, Arc<[String]>)>>);

impl Reasons {
    /// The reasons, at most a few seconds old. While the database is away, those of before.
    pub async fn known(&self, console: &Console) -> Arc<[String]> {
        let mut known = self.0.lock().await;
        let fresh = known.as_ref().filter(|(at, _)| at.elapsed() < REASONS_AGE || !console.health().mongodb);
        if let Some((_, reasons)) = fresh {
            return reasons.clone();
        }
        match console.views.reasons().await {
            Ok(reasons) => {
                let reasons: Arc<[String]> = reasons.into();
                *known = Some((Instant::now(), reasons.clone()));
                reasons
            }
            Err(error) => {
                tracing::debug!(%error, "reasons not looked up");
                known.as_ref().map(|(_, reasons)| reasons.clone()).unwrap_or_default()
            }
        }
    }
}

/// Figures by window.
#[derive(Default)]
pub struct FiguresCache(Mutex<HashMap<Window, Entry>>);

#[derive(Default)]
struct Entry {
    figures: Option<Arc<Figures>>,
    counted: Option<(Instant, Duration)>,
    counting: bool,
}

impl Entry {
    fn is_due(&self) -> bool {
        !self.counting
            && self.counted.is_none_or(|(at, took)| at.elapsed() > FIGURES_AGE.max(took * COUNTING_SHARE))
    }
}

impl FiguresCache {
    /// The figures that are known; counts anew behind the page where they are old. None while they are
    /// counted for the first time.
    pub async fn get(&self, console: &Arc<Console>, window: Window) -> Option<Arc<Figures>> {
        let known = {
            let mut entries = self.lock();
            let entry = entries.entry(window).or_default();
            if entry.is_due() && console.health().mongodb {
                entry.counting = true;
                let console = console.clone();
                console.tasks.clone().spawn(async move { console.figures.count(&console, window).await });
            }
            entry.figures.clone()
        };
        if known.is_some() {
            return known;
        }
        let first = async {
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                if let Some(figures) = self.lock().get(&window).and_then(|entry| entry.figures.clone()) {
                    return figures;
                }
            }
        };
        tokio::time::timeout(FIRST_FIGURES, first).await.ok()
    }

    async fn count(&self, console: &Console, window: Window) {
        let begun = Instant::now();
        let figures = console.views.figures(window, Timestamp::now()).await;
        let mut entries = self.lock();
        let entry = entries.entry(window).or_default();
        entry.counting = false;
        entry.counted = Some((Instant::now(), begun.elapsed()));
        match figures {
            Ok(figures) => entry.figures = Some(Arc::new(figures)),
            Err(error) => tracing::warn!(%error, "calls not counted for the overview"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Window, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
