//! Long computations on a thread of their own, so that other tasks are not delayed.

use std::{future::pending, panic::resume_unwind};

use tokio::task::spawn_blocking;

/// The result of `work`. A panic of `work` goes on in the caller.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => pending().await, // The process ends.
        },
    }
}
