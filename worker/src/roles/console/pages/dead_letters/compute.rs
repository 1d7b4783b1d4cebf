//! Long computations, away from the threads that serve requests.

use std::{future::pending, panic::resume_unwind};

use tokio::{sync::Semaphore, task::spawn_blocking};

/// Computations at one time. Further ones wait.
static SLOTS: Semaphore = Semaphore::const_new(2);

/// The result of `work`, which may take seconds: a body of 1 MiB may have 200,000 keys.
pub async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let slot = SLOTS.acquire().await;
    let computed = spawn_blocking(move || {
        let _slot = slot;
        work()
    });
    match computed.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => pending().await, // The process ends.
        },
    }
}
