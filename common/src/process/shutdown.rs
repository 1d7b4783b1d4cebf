//! Shutdown by SIGTERM or SIGINT, and notifications of the supervisor.
//!
//! systemd waits for [`ready`] before it stops the instance that this process replaces.

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Returns a token that is cancelled by the first SIGTERM or SIGINT. A second signal ends the process at
/// once, for operators who do not want to wait for open requests.
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
        tracing::info!(signal = name, "stopping: accepted requests and messages are finished first");
        stopping();
        cancel.cancel();
        next().await;
        tracing::warn!("second signal: stopping at once");
        std::process::exit(130);
    });
    Ok(stop)
}

/// Notifies the supervisor that the process is ready. Does nothing without a supervisor.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Notifies the supervisor that the process is stopping.
fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot notify the supervisor");
    }
}
