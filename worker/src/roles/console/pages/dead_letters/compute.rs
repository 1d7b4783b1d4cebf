//! Long computations, away from the threads that serve requests.

use aftercall_common::process::blocking;
use tokio::sync::Semaphore;

/// Limit of computations at the same time. Further ones wait.
static SLOTS: Semaphore = Semaphore::const_new(2);

/// Runs `work` on a thread of its own. It may take seconds: a body of 1 MiB may have 200,000 keys.
pub async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let slot = SLOTS.acquire().await;
    blocking::run(move || {
        let _slot = slot;
        work()
    })
    .await
}
