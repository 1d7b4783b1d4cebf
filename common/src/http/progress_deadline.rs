//! The deadline of a body, which follows its progress. Pure: the time is an argument.
//!
//! Every body has the same time-out. After it, a body may go on while its average rate is at least [`MIN_RATE`] and it
//! does not stall for one time-out. So a large body needs no long time-out, and a slow body gets no more time.

use std::time::Duration;

use tokio::time::Instant;

/// Least average rate of a body after its time-out, in bytes per second.
pub const MIN_RATE: u64 = 64 * 1024;
/// Replaces a duration that is too long to be added to an `Instant`.
const FAR: Duration = Duration::from_hours(24 * 365);

/// The progress of one body.
#[derive(Clone, Copy, Debug)]
pub struct ProgressDeadline {
    regular_end: Instant,
    timeout: Duration,
    received: u64,
    last_received: Instant,
}

impl ProgressDeadline {
    /// A body that begins at `now`.
    pub fn new(timeout: Duration, now: Instant) -> Self {
        Self { regular_end: later(now, timeout), timeout, received: 0, last_received: now }
    }

    /// Records that `bytes` arrived at `now`.
    pub fn receive(&mut self, bytes: usize, now: Instant) {
        self.received += bytes as u64;
        self.last_received = now;
    }

    /// The end of the time-out.
    pub fn regular_end(&self) -> Instant {
        self.regular_end
    }

    /// The time until which the next bytes must arrive: the end of the time-out, later by the time that the received
    /// bytes take at [`MIN_RATE`], but at most one time-out after the last bytes.
    pub fn end(&self) -> Instant {
        let earned = Duration::from_millis(self.received.saturating_mul(1000) / MIN_RATE);
        later(self.regular_end, earned).min(later(self.last_received, self.timeout))
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
    fn the_deadline_follows_the_received_bytes_and_a_stall_ends_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let rate = usize::try_from(MIN_RATE).unwrap();
        #[rustfmt::skip]
        let table = [ // seconds and bytes of each progress, deadline
            (vec![],                                    10), // Nothing received: no more time.
            (vec![(9, 1)],                              10), // One byte at a time.
            (vec![(9, 5 * rate)],                       15), // Five seconds earned.
            (vec![(9, 90 * rate)],                      19), // A stall ends it earlier.
            (vec![(9, 5 * rate), (14, 5 * rate)],       20), // At exactly the minimum rate.
            (vec![(9, 90 * rate), (18, rate)],          28), // Fast at first: the stall counts.
        ];
        for (progress, end) in table {
            let mut deadline = ProgressDeadline::new(Duration::from_secs(10), start);
            for &(seconds, bytes) in &progress {
                deadline.receive(bytes, at(seconds));
            }
            assert_eq!((deadline.regular_end(), deadline.end()), (at(10), at(end)), "{progress:?}");
        }
        let endless = ProgressDeadline::new(Duration::MAX, start);
        assert!(endless.regular_end() > at(1_000_000) && endless.end() > at(1_000_000));
    }
}
