//! Limits how often each source is logged. Pure: the time is an argument.
//!
//! Invariants:
//! - Each source is logged at most once a minute.
//! - The number of remembered sources is bounded.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Minimum time between two log lines about one source.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The sources with a recent log line, up to a limit.
#[derive(Debug)]
pub struct SourceLog {
    max_sources: usize,
    /// For each source, the time of its last line and the number of its events since then.
    logged: HashMap<IpAddr, (Instant, u64)>,
}

impl SourceLog {
    /// Remembers at most `max_sources` sources. While all of them are recent, events of other sources are not logged.
    pub fn new(max_sources: usize) -> Self {
        Self { max_sources, logged: HashMap::new() }
    }

    /// Records an event of `source` at `now`. `None`: it must not be logged. Otherwise the value is the number of events of
    /// the source since its last line, including this one.
    pub fn record(&mut self, source: IpAddr, now: Instant) -> Option<u64> {
        let is_recent = |last: Instant| now.saturating_duration_since(last) < LOG_INTERVAL;
        let mut suppressed = 0;
        if let Some((last, count)) = self.logged.get_mut(&source) {
            if is_recent(*last) {
                *count += 1;
                return None;
            }
            suppressed = *count;
        }
        if self.logged.len() >= self.max_sources {
            self.logged.retain(|_, (last, _)| is_recent(*last));
        }
        let has_room = self.logged.len() < self.max_sources;
        if has_room {
            self.logged.insert(source, (now, 0));
        }
        has_room.then_some(suppressed + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_SOURCES: usize = 1024;

    #[test]
    fn each_source_is_logged_once_a_minute_and_the_number_of_sources_is_bounded() {
        let mut log = SourceLog::new(MAX_SOURCES);
        let start = Instant::now();
        let line = |log: &mut SourceLog, n: u32, seconds: u64| {
            log.record(IpAddr::from(n.to_be_bytes()), start + Duration::from_secs(seconds))
        };
        assert!(line(&mut log, 1, 0).is_some() && line(&mut log, 2, 0).is_some());
        assert!(line(&mut log, 1, 59).is_none());
        assert_eq!(line(&mut log, 1, 60), Some(2), "the suppressed event is counted too");
        let logged = (0..5000).filter(|&n| line(&mut log, n, 70).is_some()).count();
        // One of the places is taken by the source that was logged 10 s ago.
        assert_eq!((logged, log.logged.len()), (MAX_SOURCES - 1, MAX_SOURCES));
        assert!(line(&mut log, 9999, 131).is_some(), "places of sources that are not recent are used again");
    }
}
