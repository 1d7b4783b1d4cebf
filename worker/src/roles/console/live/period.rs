//! What the overview shows of a window besides its chart: sums by agent and by batch, and what needs attention.

use std::{collections::BTreeMap, time::Duration};

use async_nats::jetstream;
use jiff::Timestamp;

use crate::{
    dead_letters::{BrokerUnavailable, DeadLetterQueue},
    store::{
        StoreError,
        views::{PeriodFigures, Views, Window},
    },
};

/// Longest time for reading dead letters.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A sample of a window.
pub struct PeriodSample {
    /// The sums of the calls.
    pub figures: PeriodFigures,
    /// The latest dead letters.
    pub letters: Letters,
}

/// The latest dead letters by reason.
#[derive(Default)]
pub struct Letters {
    /// Reasons, each with the number of letters.
    pub by_reason: Vec<(String, u64)>,
    /// Whether there are older letters, which are not counted.
    pub has_older: bool,
}

/// Takes a sample of `window`. Takes seconds if there are many calls.
pub async fn sample(
    views: Views,
    jetstream: jetstream::Context,
    window: Window,
) -> Result<PeriodSample, StoreError> {
    let figures = views.period_figures(window, Timestamp::now()).await?;
    // Without the broker, the letters are left out. Every page says that the broker does not answer.
    let letters = tokio::time::timeout(TIMEOUT, letters(&jetstream)).await;
    let letters = letters.ok().and_then(Result::ok).unwrap_or_default();
    Ok(PeriodSample { figures, letters })
}

async fn letters(jetstream: &jetstream::Context) -> Result<Letters, BrokerUnavailable> {
    let (letters, has_older) = DeadLetterQueue::open(jetstream).await?.page(u64::MAX).await?;
    let mut by_reason = BTreeMap::new();
    for letter in letters {
        *by_reason.entry(letter.reason).or_insert(0) += 1;
    }
    Ok(Letters { by_reason: by_reason.into_iter().collect(), has_older })
}
