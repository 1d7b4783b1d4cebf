//! The windows of time over which calls are counted.

use std::time::Duration;

use jiff::Timestamp;

/// The time over which calls are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// The last hour, by minutes.
    Hour,
    /// The last 24 hours, by half hours.
    Day,
    /// The last 7 days, by four hours.
    Week,
}

impl Window {
    /// Every window.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    /// The word in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    /// The window of a word in a URL.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.as_str() == word)
    }

    /// Length of one bucket.
    pub fn step(self) -> Duration {
        match self {
            Self::Hour => Duration::from_mins(1),
            Self::Day => Duration::from_mins(30),
            Self::Week => Duration::from_hours(4),
        }
    }

    /// Number of buckets.
    fn buckets(self) -> u32 {
        match self {
            Self::Hour => 60,
            Self::Day => 48,
            Self::Week => 42,
        }
    }

    /// Length of the window.
    pub fn length(self) -> Duration {
        self.step() * self.buckets()
    }

    /// The start times of the buckets at `now`. They are multiples of the step, and the last bucket is not
    /// over.
    pub(super) fn starts(self, now: Timestamp) -> Vec<Timestamp> {
        let step = i64::try_from(self.step().as_secs()).expect("hours");
        let last = now.as_second().div_euclid(step) * step;
        let start = |n: u32| Timestamp::from_second(last - i64::from(n) * step).unwrap_or(now);
        (0..self.buckets()).rev().map(start).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_multiples_of_the_step_and_end_at_now() {
        let now: Timestamp = "2026-11-25T14:17:23Z".parse().unwrap();
        for window in Window::ALL {
            let starts = window.starts(now);
            let step = i64::try_from(window.step().as_secs()).unwrap();
            assert!(starts.iter().all(|start| start.as_second() % step == 0), "{window:?}");
            assert!(starts.windows(2).all(|pair| pair[1].as_second() - pair[0].as_second() == step));
            let last = starts.last().unwrap();
            assert!(*last <= now && now.as_second() < last.as_second() + step, "{window:?}");
            assert_eq!(Window::from_word(window.as_str()), Some(window));
        }
    }
}
