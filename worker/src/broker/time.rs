//! Times of the broker. Its clock decides when a scheduled message is due.
//!
//! The clock of this machine may be wrong. If it is an hour ahead, each scheduled message would wait an hour
//! longer; if it is an hour behind, no message would wait at all. The broker's answer about a stream contains
//! its time.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use aftercall_common::contract::streams;
use async_nats::{datetime::DateTime, jetstream};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

/// How long a measurement is used. Clocks may be adjusted at any time.
const MAX_AGE: Duration = Duration::from_secs(30);

/// A time that the broker gives. `None`: it is out of range.
pub fn timestamp(time: DateTime) -> Option<Timestamp> {
    Timestamp::from_nanosecond(time.unix_timestamp_nanos()).ok()
}

#[derive(Deserialize)]
struct Answer {
    ts: Timestamp,
}

/// The offset of the broker's clock from the clock of this machine, with the time of its measurement.
#[derive(Debug, Default)]
pub struct BrokerTime(Mutex<Option<(Instant, SignedDuration)>>);

impl BrokerTime {
    /// Converts `at` from this machine's clock to the broker's clock. Returns `at` if the broker does not
    /// answer.
    pub async fn of(&self, context: &jetstream::Context, at: Timestamp) -> Timestamp {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = match known {
            Some((measured, ahead)) if measured.elapsed() < MAX_AGE => ahead,
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
