//! A whole Aftercall for one test.

pub mod python;
mod servers;
mod service;
mod stack;

use std::{fmt::Debug, time::Duration};

pub use self::{
    servers::{Mongo, launcher, mongod_set, nats},
    service::Service,
    stack::{Answer, CALL_STATUS, LOOKUP, Setup, Stack, TWILIO_CALL_STATUS},
};

/// Longest anything is waited for. Far above what it takes, for machines that are busy.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Asks `probe` until it answers; fails the test with the last word of `what` after [`PATIENCE`].
pub async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Asks `probe` until it answers `wanted`; shows the last answer otherwise.
pub async fn until_equal<T: PartialEq + Debug>(what: &str, wanted: T, mut probe: impl AsyncFnMut() -> T) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let found = probe().await;
        if found == wanted {
            return;
        }
        if tokio::time::Instant::now() >= deadline {
            assert_eq!(found, wanted, "{what}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
