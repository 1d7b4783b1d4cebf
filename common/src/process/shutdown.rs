//! The stop signal: SIGTERM or SIGINT cancels one token that everything watches. And what a supervisor is told
//! of us: systemd waits for [`ready`] before it stops the instance that we replace.

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled at the first SIGTERM or SIGINT. A second signal ends the process at
/// once, for the operator who does not want to wait for the drain.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    // The one detached task: it has to outlive everything that is waited for.
    #[expect(clippy::disallowed_methods, reason = "nothing waits for the signal watcher")]
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let name = next().await;
        tracing::info!(signal = name, "stopping: what was accepted is finished first");
        stopping();
        cancel.cancel();
        next().await;
        tracing::warn!("second signal: stopping at once");
        std::process::exit(130);
    });
    Ok(stop)
}

/// Tells the supervisor that we do our work from now on. Without one, nothing happens.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Tells the supervisor that we finish what was begun.
fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the supervisor cannot be told");
    }
}
