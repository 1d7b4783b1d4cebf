//! Notifications of the supervisor, by systemd's protocol (`sd_notify(3)`).
//!
//! systemd waits for [`ready`] before it stops the instance that this process replaces. With `WatchdogSec` it
//! replaces a process that no longer reports that it is alive. Without a supervisor nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

/// Reports within one watchdog time. A report may be late or lost, and the process must still be alive for the
/// supervisor.
const REPORTS: u32 = 4;

/// Notifies the supervisor that the process is ready, and from now on that it is alive, if it asks for that.
///
/// The reports come from a task of the current runtime, so they stop if the runtime is blocked.
pub fn ready() {
    notify(&[NotifyState::Ready]);
    if let Some(time) = sd_notify::watchdog_enabled() {
        #[expect(
            clippy::disallowed_methods,
            reason = "nothing waits for the reports: they end with the process"
        )]
        tokio::spawn(report_alive(time / REPORTS));
    }
}

/// Notifies the supervisor that the process is stopping.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

async fn report_alive(interval: Duration) {
    loop {
        notify(&[NotifyState::Watchdog]);
        tokio::time::sleep(interval).await;
    }
}

fn notify(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot notify the supervisor");
    }
}
