//! Long computations, away from the threads that serve requests.

use std::panic::resume_unwind;

use tokio::task::spawn_blocking;

/// The result of `work`, which may take seconds: a body of 1 MiB may have 200,000 keys.
pub async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}
