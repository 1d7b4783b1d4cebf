//! Cache of the reasons for which calls have failed. The query is expensive, so all viewers share its result.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use super::broadcast::Health;
use crate::store::views::Views;

/// Age at which the reasons are read again.
const MAX_AGE: Duration = Duration::from_secs(15);

/// The failure reasons of stored calls, and when they were read.
#[derive(Default)]
pub struct ReasonsCache(Mutex<Option<(Instant, Arc<[String]>)>>);

impl ReasonsCache {
    /// The reasons, at most [`MAX_AGE`] old. While the database does not answer, the latest known ones.
    pub async fn get(&self, views: &Views, health: Health) -> Arc<[String]> {
        let mut cached = self.0.lock().await;
        let fresh = cached.as_ref().filter(|(at, _)| at.elapsed() < MAX_AGE || !health.mongodb);
        if let Some((_, reasons)) = fresh {
            return reasons.clone();
        }
        match views.reasons().await {
            Ok(reasons) => {
                let reasons: Arc<[String]> = reasons.into();
                *cached = Some((Instant::now(), reasons.clone()));
                reasons
            }
            Err(error) => {
                tracing::debug!(%error, "the failure reasons were not read; using the earlier ones");
                cached.as_ref().map(|(_, reasons)| reasons.clone()).unwrap_or_default()
            }
        }
    }
}
