//! Shutdown by SIGTERM or SIGINT.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::supervisor;

/// Returns a token that is cancelled by the first SIGTERM or SIGINT. A second signal ends the process at
/// once with status 130, for operators who do not want to wait for open requests.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    // This task is detached, because it must react to a second signal while the process waits for all other
    // tasks.
    #[expect(clippy::disallowed_methods, reason = "nothing waits for the signal watcher")]
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let name = next().await;
        tracing::info!(signal = name, "stopping");
        supervisor::stopping();
        cancel.cancel();
        next().await;
        tracing::warn!("second signal: the process ends at once, and leaves open work unfinished");
        std::process::exit(130);
    });
    Ok(stop)
}
