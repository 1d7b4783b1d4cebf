//! The deadline of a body, which follows its progress. Pure: the time is an argument.
//!
//! Every body has the same regular time. Beyond it, a body may go on while it keeps a minimum rate and does
//! not stall, so that a large body needs no long time-out, and a stalled or a small body does not get more time.

use std::time::Duration;

use tokio::time::Instant;

/// Least average rate of a body beyond the regular time, in bytes per second.
pub const MIN_RATE: u64 = 64 * 1024;
/// Stands for a time-out that is too long to be added to a time.
const FAR: Duration = Duration::from_hours(24 * 365);

/// The progress of one body.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    regular_end: Instant,
    timeout: Duration,
    received: u64,
    /// When the last bytes arrived.
    progressed: Instant,
}

impl Pace {
    /// A body that begins at `now` and has `timeout` as its regular time.
    pub fn new(timeout: Duration, now: Instant) -> Self {
        Self { regular_end: later(now, timeout), timeout, received: 0, progressed: now }
    }

    /// Records that `bytes` arrived at `now`.
    pub fn receive(&mut self, bytes: usize, now: Instant) {
        self.received += bytes as u64;
        self.progressed = now;
    }

    /// The end of the regular time.
    pub fn regular_end(&self) -> Instant {
        self.regular_end
    }

    /// The time until which the next bytes must arrive: the regular time, or what the received bytes have earned
    /// beyond it.
    pub fn end(&self) -> Instant {
        self.regular_end.max(self.overtime_end())
    }

    /// The time until which the next bytes must arrive, beyond the regular time: the received bytes at the
    /// minimum rate, but at most one time-out after the last bytes.
    pub fn overtime_end(&self) -> Instant {
        let earned = Duration::from_millis(self.received.saturating_mul(1000) / MIN_RATE);
        later(self.regular_end, earned).min(later(self.progressed, self.timeout))
    }
}

/// `duration` after `time`.
fn later(time: Instant, duration: Duration) -> Instant {
    time.checked_add(duration).unwrap_or_else(|| time + FAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overtime_follows_the_received_bytes_and_ends_with_a_stall() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let rate = usize::try_from(MIN_RATE).unwrap();
        #[rustfmt::skip]
        let table = [ // seconds and bytes of each progress, end of the overtime
            (vec![],                                    10), // Nothing received: no overtime.
            (vec![(9, 1)],                              10), // One byte at a time.
            (vec![(9, 5 * rate)],                       15), // Five seconds earned.
            (vec![(9, 90 * rate)],                      19), // A stall ends it earlier.
            (vec![(9, 5 * rate), (14, 5 * rate)],       20), // At exactly the minimum rate.
            (vec![(9, 90 * rate), (18, rate)],          28), // Fast before, slow now: until a stall.
        ];
        for (progress, end) in table {
            let mut pace = Pace::new(Duration::from_secs(10), start);
            for &(seconds, bytes) in &progress {
                pace.receive(bytes, at(seconds));
            }
            let ends = (pace.regular_end(), pace.overtime_end(), pace.end());
            assert_eq!(ends, (at(10), at(end), at(end)), "{progress:?}");
        }
        let endless = Pace::new(Duration::MAX, start);
        assert!(endless.regular_end() > at(1_000_000) && endless.overtime_end() > at(1_000_000));
    }
}
