//! The provider's webhooks while others disturb the gateway: latency and memory, and the targets for both.

use std::{net::SocketAddr, time::Duration};

use super::{
    load,
    measure::{self, Series},
    table::Target,
};

/// Rate of the provider's webhooks per second.
pub const RATE: u32 = 200;
/// Connections of the provider.
const PROVIDER_CONNECTIONS: u32 = 16;
/// Largest acceptable ratio of the p99 with the disturbance to the p99 without it.
const MAX_P99_RATIO: f64 = 2.0;

/// The results of all rounds in one case.
#[derive(Default)]
pub struct Figures {
    pub p50: Series,
    pub p99: Series,
    /// Largest memory of the gateway so far, in MiB.
    pub peak: Series,
}

impl Figures {
    /// Measures the webhooks for `time`, and the memory of the gateway, which has this `pid`. Fails if a
    /// webhook is not answered with 200.
    pub async fn measure(&mut self, gateway: SocketAddr, pid: u32, time: Duration) -> anyhow::Result<()> {
        let times = load::paced(gateway, PROVIDER_CONNECTIONS, RATE, time, |_| ()).await?;
        self.p50.push(times.ms(0.5));
        self.p99.push(times.ms(0.99));
        self.peak.push(measure::peak_mib(pid)?);
        Ok(())
    }

    /// Whether the p99 is at most [`MAX_P99_RATIO`] times the `undisturbed` one, and the memory below
    /// `max_mib`.
    pub fn targets(&self, undisturbed: &Self, max_mib: f64) -> Vec<Target> {
        let ratio = self.p99.ratio_to(&undisturbed.p99).summary().median;
        let peak = self.peak.summary().most;
        vec![
            Target {
                met: ratio <= MAX_P99_RATIO,
                text: format!("p99 {ratio:.2} times the undisturbed one (target: {MAX_P99_RATIO:.0})"),
            },
            Target { met: peak < max_mib, text: format!("{peak:.1} MiB at most (target: {max_mib:.0})") },
        ]
    }
}
