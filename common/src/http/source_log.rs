//! Limits log lines per source. Pure: the time is an argument.
//!
//! Invariants: each source is logged at most once per minute; the number of remembered sources is bounded.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Minimum time between two log lines about one source.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The sources that were logged lately.
#[derive(Debug)]
pub struct SourceLog {
    max_sources: usize,
    /// Time of the last line of each source, and number of events since.
    logged: HashMap<IpAddr, (Instant, u64)>,
}

impl SourceLog {
    /// Remembers at most `max_sources` sources. Further sources are not logged.
    pub fn new(max_sources: usize) -> Self {
        Self { max_sources, logged: HashMap::new() }
    }

    /// Records an event of `source` at `now`. Returns the number of its events since the last line, including
    /// this one, if the event is to be logged.
    pub fn line(&mut self, source: IpAddr, now: Instant) -> Option<u64> {
        let is_recent = |last: Instant| now.saturating_duration_since(last) < LOG_INTERVAL;
        let mut before = 0;
        if let Some((last, since)) = self.logged.get_mut(&source) {
            if is_recent(*last) {
                *since += 1;
                return None;
            }
            before = *since;
        }
        if self.logged.len() >= self.max_sources {
            self.logged.retain(|_, (last, _)| is_recent(*last));
        }
        let has_room = self.logged.len() < self.max_sources;
        if has_room {
            self.logged.insert(source, (now, 0));
        }
        has_room.then_some(before + 1)
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
            log.line(IpAddr::from(n.to_be_bytes()), start + Duration::from_secs(seconds))
        };
        assert!(line(&mut log, 1, 0).is_some() && line(&mut log, 2, 0).is_some());
        assert!(line(&mut log, 1, 59).is_none());
        assert_eq!(line(&mut log, 1, 60), Some(2), "with the one that was not logged");
        let logged = (0..5000).filter(|&n| line(&mut log, n, 70).is_some()).count();
        assert!(logged <= MAX_SOURCES && log.logged.len() <= MAX_SOURCES, "{logged}");
        assert!(line(&mut log, 9999, 131).is_some(), "the old ones make room");
    }
}
