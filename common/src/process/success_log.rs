//! Limits the log lines of successes: at most [`MAX_LINES`] successes in a second have a line of their own. The others are
//! counted, and about once a second one line says how many they were.
//!
//! A process with thousands of successes per second would otherwise spend much of its time on their lines. A success
//! without a line only increments a counter.
//!
//! Invariant: each success that is recorded before the stop has either its own line or a place in exactly one sum.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

/// Maximum number of lines of successes per second.
pub const MAX_LINES: u32 = 50;
/// Time between two sums.
const SUM_INTERVAL: Duration = Duration::from_secs(1);

/// The successes of a process, shared by its tasks.
#[derive(Debug)]
pub struct SuccessLog(Mutex<LineLimiter>);

impl Default for SuccessLog {
    fn default() -> Self {
        Self(Mutex::new(LineLimiter::new(Instant::now())))
    }
}

impl SuccessLog {
    /// Records a success. Returns whether the caller may write a line for it; otherwise the success is part of the next sum.
    /// `kind` is a fixed label, so the number of kinds is small.
    pub fn has_line(&self, kind: &'static str, now: Instant) -> bool {
        self.limiter().has_line(kind, now)
    }

    /// Passes the successes without a line to `write` once a second. At the stop, passes the remaining ones and returns.
    pub async fn sum_up(&self, stop: &CancellationToken, write: impl Fn(&Sums)) {
        loop {
            let is_stopped = stop.run_until_cancelled(tokio::time::sleep(SUM_INTERVAL)).await.is_none();
            let sums = if is_stopped { self.limiter().take() } else { self.limiter().sums(Instant::now()) };
            if let Some(sums) = sums {
                write(&sums);
            }
            if is_stopped {
                return;
            }
        }
    }

    fn limiter(&self) -> MutexGuard<'_, LineLimiter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The numbers of successes that had no line of their own, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(Vec<(&'static str, u64)>);

impl Sums {
    /// The number of successes of all kinds.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    fn add(&mut self, kind: &'static str, added: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += added,
            None => self.0.push((kind, added)),
        }
    }
}

/// `KIND NUMBER` for each kind, with commas between.
impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (kind, count)) in self.0.iter().enumerate() {
            write!(f, "{}{kind} {count}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Decides which successes have a line. Pure: the time is an argument.
#[derive(Debug)]
struct LineLimiter {
    start: Instant,
    /// The end of the newest second in which a success was recorded. Seconds are counted from `start`.
    second_end: Instant,
    /// Lines in that second.
    lines: u32,
    /// The successes without a line in that second.
    current: Sums,
    /// The successes without a line in the seconds before, since the last sum.
    finished: Sums,
}

impl LineLimiter {
    fn new(start: Instant) -> Self {
        Self { start, second_end: start, lines: 0, current: Sums::default(), finished: Sums::default() }
    }

    fn has_line(&mut self, kind: &'static str, now: Instant) -> bool {
        // Tasks read the clock before they get here, so a success may come late. It counts for the newest
        // second.
        if now >= self.second_end {
            let ended = now.saturating_duration_since(self.start).as_secs();
            (self.second_end, self.lines) = (self.start + Duration::from_secs(ended + 1), 0);
            self.finish();
        }
        if self.lines < MAX_LINES {
            self.lines += 1;
            return true;
        }
        self.current.add(kind, 1);
        false
    }

    /// The successes without a line in the seconds that are over at `now`.
    fn sums(&mut self, now: Instant) -> Option<Sums> {
        if now >= self.second_end {
            self.finish();
        }
        self.take_finished()
    }

    /// Moves the counts of the current second to those of the seconds before.
    fn finish(&mut self) {
        for (kind, count) in std::mem::take(&mut self.current).0 {
            self.finished.add(kind, count);
        }
    }

    /// All successes without a line.
    fn take(&mut self) -> Option<Sums> {
        self.finish();
        self.take_finished()
    }

    fn take_finished(&mut self) -> Option<Sums> {
        let sums = std::mem::take(&mut self.finished);
        (!sums.0.is_empty()).then_some(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A limiter, and a function from milliseconds to times.
    fn limiter() -> (LineLimiter, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (LineLimiter::new(start), move |ms| start + Duration::from_millis(ms))
    }

    #[test]
    fn a_second_has_50_lines_and_the_next_second_has_50_more() {
        let (mut limiter, at) = limiter();
        let mut lines = |ms| (0..60).filter(|_| limiter.has_line("a", at(ms))).count();
        assert_eq!([lines(999), lines(999), lines(1000), lines(1999), lines(2000)], [50, 0, 50, 0, 50]);
        assert_eq!(lines(9_000_000), 50, "hours later");
        assert_eq!(lines(2000), 0, "a late success counts for the newest second");
    }

    #[test]
    fn successes_without_a_line_are_summed_up_once_when_their_second_is_over() {
        let (mut limiter, at) = limiter();
        for n in 0..60 {
            limiter.has_line(if n % 2 == 0 { "a" } else { "b" }, at(500));
        }
        limiter.has_line("a", at(999));
        assert_eq!(limiter.sums(at(999)), None, "the second is not over");
        let sums = limiter.sums(at(1000)).unwrap();
        assert_eq!((sums.total(), sums.to_string().as_str()), (11, "a 6, b 5"));
        assert_eq!(limiter.sums(at(2000)), None, "nothing new");
        // Two seconds between two sums: no success is lost.
        for ms in [2100, 3100] {
            for _ in 0..52 {
                limiter.has_line("c", at(ms));
            }
        }
        assert_eq!(limiter.sums(at(3999)).unwrap().to_string(), "c 2", "of the second before");
        assert_eq!(limiter.sums(at(4000)).unwrap().to_string(), "c 2");
    }

    #[test]
    fn a_steady_load_has_a_sum_for_each_second() {
        let (mut limiter, at) = limiter();
        for second in 0..20 {
            // The sums are asked for in the middle of a second, when it has more successes than lines already.
            for ms in 0..900 {
                limiter.has_line("a", at(second * 1000 + ms));
            }
            let expected = (second > 0).then(|| "a 850".to_owned());
            assert_eq!(
                limiter.sums(at(second * 1000 + 900)).map(|sums| sums.to_string()),
                expected,
                "{second}"
            );
        }
    }

    #[test]
    fn few_successes_have_no_sum() {
        let (mut limiter, at) = limiter();
        assert!((0..50).all(|_| limiter.has_line("a", at(0))));
        assert_eq!((limiter.sums(at(5000)), limiter.take()), (None, None));
    }

    #[tokio::test]
    async fn the_last_sum_is_written_at_the_stop() {
        let (log, stop, now) = (SuccessLog::default(), CancellationToken::new(), Instant::now());
        let lines = (0..120).filter(|_| log.has_line("a", now)).count();
        stop.cancel();
        let written = Mutex::new(Vec::new());
        log.sum_up(&stop, |sums| written.lock().unwrap().push(sums.to_string())).await;
        assert_eq!((lines, written.into_inner().unwrap()), (50, vec!["a 70".to_owned()]));
    }
}
