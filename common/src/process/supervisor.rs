//! Notifications of the supervisor, by systemd's protocol (`sd_notify(3)`).
//!
//! `systemctl restart` returns after [`ready`], so a script that restarts one instance after the other always has one
//! that serves. With `WatchdogSec`, systemd restarts a process that stops reporting. Without a supervisor nothing
//! happens.

use std::time::Duration;

use sd_notify::NotifyState;

/// Reports within one watchdog time. With several, systemd does not restart the process for one late report.
const REPORTS: u32 = 4;

/// Tells the supervisor that the process is ready. If the supervisor wants reports, tells it from now on that the
/// process is alive.
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
