//! Bounds the log lines of successes: one line for each success, up to [`MAX_LINES`] lines in a second. The
//! successes beyond are counted, and one line sums them up when the second is over.
//!
//! A process with thousands of successes per second would otherwise spend much of its time on their lines.
//! A success beyond the bound costs a counter.
//!
//! Invariant: each success is either in a line of its own or in exactly one sum.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

/// Most lines of successes in one second.
pub const MAX_LINES: u32 = 50;
/// Time between two sums.
const SUM_INTERVAL: Duration = Duration::from_secs(1);

/// The successes of a process, shared by its tasks.
#[derive(Debug)]
pub struct SuccessLog(Mutex<Bound>);

impl Default for SuccessLog {
    fn default() -> Self {
        Self(Mutex::new(Bound::new(Instant::now())))
    }
}

impl SuccessLog {
    /// Whether a success of this `kind` at `now` has a line of its own. Otherwise the success is counted. A
    /// kind is a label, so that the number of kinds is limited.
    pub fn has_line(&self, kind: &'static str, now: Instant) -> bool {
        self.bound().has_line(kind, now)
    }

    /// Passes the successes without a line to `write` once a second, until `stop`. Passes the last ones then.
    pub async fn sum_up(&self, stop: &CancellationToken, write: impl Fn(&Sums)) {
        loop {
            let is_stopped = stop.run_until_cancelled(tokio::time::sleep(SUM_INTERVAL)).await.is_none();
            let sums = if is_stopped { self.bound().take() } else { self.bound().sums(Instant::now()) };
            if let Some(sums) = sums {
                write(&sums);
            }
            if is_stopped {
                return;
            }
        }
    }

    fn bound(&self) -> MutexGuard<'_, Bound> {
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

    fn add(&mut self, kind: &'static str) {
        match self.0.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => self.0.push((kind, 1)),
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
struct Bound {
    start: Instant,
    /// The end of the newest second in which a success was recorded. Seconds are counted from `start`.
    second_end: Instant,
    /// Lines in that second.
    lines: u32,
    omitted: Sums,
    /// The end of the newest second with a success in `omitted`.
    omitted_until: Instant,
}

impl Bound {
    fn new(start: Instant) -> Self {
        Self { start, second_end: start, lines: 0, omitted: Sums::default(), omitted_until: start }
    }

    fn has_line(&mut self, kind: &'static str, now: Instant) -> bool {
        // Tasks read the clock before they get here, so a success may come late. It counts for the newest
        // second.
        if now >= self.second_end {
            let ended = now.saturating_duration_since(self.start).as_secs();
            (self.second_end, self.lines) = (self.start + Duration::from_secs(ended + 1), 0);
        }
        if self.lines < MAX_LINES {
            self.lines += 1;
            return true;
        }
        self.omitted.add(kind);
        self.omitted_until = self.second_end;
        false
    }

    /// The successes without a line, once the second of the last one is over.
    fn sums(&mut self, now: Instant) -> Option<Sums> {
        if now >= self.omitted_until { self.take() } else { None }
    }

    /// The successes without a line.
    fn take(&mut self) -> Option<Sums> {
        let sums = std::mem::take(&mut self.omitted);
        (!sums.0.is_empty()).then_some(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bound, and a function from milliseconds to times.
    fn bound() -> (Bound, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (Bound::new(start), move |ms| start + Duration::from_millis(ms))
    }

    #[test]
    fn a_second_has_50_lines_and_the_next_second_has_50_more() {
        let (mut bound, at) = bound();
        let mut lines = |ms| (0..60).filter(|_| bound.has_line("a", at(ms))).count();
        assert_eq!([lines(999), lines(999), lines(1000), lines(1999), lines(2000)], [50, 0, 50, 0, 50]);
        assert_eq!(lines(9_000_000), 50, "hours later");
        assert_eq!(lines(2000), 0, "a late success counts for the newest second");
    }

    #[test]
    fn successes_without_a_line_are_summed_up_once_when_their_second_is_over() {
        let (mut bound, at) = bound();
        for n in 0..60 {
            bound.has_line(if n % 2 == 0 { "a" } else { "b" }, at(500));
        }
        bound.has_line("a", at(999));
        assert_eq!(bound.sums(at(999)), None, "the second is not over");
        let sums = bound.sums(at(1000)).unwrap();
        assert_eq!((sums.total(), sums.to_string().as_str()), (11, "a 6, b 5"));
        assert_eq!(bound.sums(at(2000)), None, "nothing new");
        // Two seconds between two sums: no success is lost.
        for ms in [2100, 3100] {
            for _ in 0..52 {
                bound.has_line("c", at(ms));
            }
        }
        assert_eq!(bound.sums(at(3999)), None);
        assert_eq!(bound.sums(at(4000)).unwrap().to_string(), "c 4");
    }

    #[test]
    fn few_successes_have_no_sum() {
        let (mut bound, at) = bound();
        assert!((0..50).all(|_| bound.has_line("a", at(0))));
        assert_eq!((bound.sums(at(5000)), bound.take()), (None, None));
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
