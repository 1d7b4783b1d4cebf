//! Times by the broker's clock, which decides when a scheduled message is due.
//!
//! Ours may be wrong: an hour ahead, and every wait would last an hour; an hour behind, and none would last at
//! all. The broker tells its time with every answer about a stream; that is asked for now and then.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use aftercall_common::contract::streams;
use async_nats::jetstream;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

/// How long a measurement holds: clocks are set now and then.
const FRESH: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Answer {
    ts: Timestamp,
}

/// How far the broker's clock is ahead of ours, and when that was found out.
#[derive(Debug, Default)]
pub struct BrokerTime(Mutex<Option<(Instant, SignedDuration)>>);

impl BrokerTime {
    /// `at`, a time by our clock, by the broker's. A broker that does not tell is taken to have our time.
    pub async fn of(&self, context: &jetstream::Context, at: Timestamp) -> Timestamp {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = match known {
            Some((measured, ahead)) if measured.elapsed() < FRESH => ahead,
            _ => self.measure(context).await.unwrap_or_default(),
        };
        at.checked_add(ahead).unwrap_or(at)
    }

    async fn measure(&self, context: &jetstream::Context) -> Option<SignedDuration> {
        let subject = format!("STREAM.INFO.{}", streams::TRANSCRIPTS);
        let answer: Answer = context.request(subject, &()).await.ok()?;
        let ahead = answer.ts.duration_since(Timestamp::now());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), ahead));
        Some(ahead)
    }
}
