//! A whole Aftercall for one test.

mod authority;
pub mod python;
pub mod servers;
mod service;
mod stack;

use std::{fmt::Debug, path::PathBuf, time::Duration};

pub use self::{
    authority::Authority,
    servers::{Mongo, launcher, mongod_set, nats},
    service::Service,
    stack::{Answer, CALL_STATUS, LOOKUP, Setup, Stack, TWILIO_CALL_STATUS, twilio_signature},
};

/// Longest anything is waited for. Far above what it takes, for machines that are busy.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A program that a distribution's package brings. Where it is missing the test that asks is not run, and
/// says so; CI installs them all.
pub fn tool(name: &str) -> Option<PathBuf> {
    if name.starts_with('/') {
        return Some(name.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "{name} is not on PATH");
    if found.is_none() {
        eprintln!("NOT RUN: {name} is not on PATH");
    }
    found
}

/// A second, an hour before the tests began: what happened then has a time that counts.
pub fn recently() -> i64 {
    static BEGIN: std::sync::LazyLock<i64> = std::sync::LazyLock::new(|| jiff::Timestamp::now().as_second());
    *BEGIN - 3600
}

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
