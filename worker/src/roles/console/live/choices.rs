//! Cache of the values that filters offer. The queries are expensive, so all viewers share their result.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use super::broadcast::Health;
use crate::store::views::{Choices, Views};

/// Age at which the values are read again.
const MAX_AGE: Duration = Duration::from_secs(15);

/// The values of stored calls, and when they were read.
#[derive(Default)]
pub struct ChoicesCache(Mutex<Option<(Instant, Arc<Choices>)>>);

impl ChoicesCache {
    /// The values, at most [`MAX_AGE`] old. While the database does not answer, the latest known ones.
    pub async fn get(&self, views: &Views, health: Health) -> Arc<Choices> {
        let mut cached = self.0.lock().await;
        let fresh = cached.as_ref().filter(|(at, _)| at.elapsed() < MAX_AGE || !health.mongodb);
        if let Some((_, choices)) = fresh {
            return choices.clone();
        }
        match views.choices().await {
            Ok(choices) => {
                let choices = Arc::new(choices);
                *cached = Some((Instant::now(), choices.clone()));
                choices
            }
            Err(error) => {
                tracing::debug!(%error, "the values of filters were not read; using the earlier ones");
                cached.as_ref().map(|(_, choices)| choices.clone()).unwrap_or_default()
            }
        }
    }
}
