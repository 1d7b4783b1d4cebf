//! The window of conversations that a pass covers. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::time::between;

/// How far a window reaches back before the end of the previous one. A call may last two hours.
const OVERLAP: Duration = Duration::from_hours(3);
/// Longest window.
const MAX_LENGTH: Duration = Duration::from_hours(7 * 24);
/// Length of the first window, and of the default window of the command.
const DEFAULT_LENGTH: Duration = Duration::from_hours(24);
/// Most difference between the clocks of two workers.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);

/// Whether the end of the previous window lies so far after `now` that one of the two clocks was wrong. Such an end says
/// nothing about what was compared.
pub fn is_ahead(last: Timestamp, now: Timestamp) -> bool {
    between(now, last) > CLOCK_TOLERANCE
}

/// The conversations that a pass covers, and how it treats them.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Earliest start of a conversation.
    pub since: Timestamp,
    /// Latest start of a conversation.
    pub until: Timestamp,
    /// Most requests for single conversations per second.
    pub rate: f64,
    /// Whether the pass only reports: it publishes and changes nothing.
    pub dry_run: bool,
}

/// Start of the window of a pass at `now`. `last`: end of the previous window, or `None` before the
/// first complete pass.
pub fn since(last: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let length = match last.filter(|last| !is_ahead(*last, now)) {
        Some(last) => between(last, now).saturating_add(OVERLAP).min(MAX_LENGTH),
        None => DEFAULT_LENGTH,
    };
    now.saturating_sub(length).unwrap_or(now)
}

/// Start of the default window of the command.
pub fn default_since(now: Timestamp) -> Timestamp {
    now.saturating_sub(DEFAULT_LENGTH).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::after;

    #[test]
    fn windows_overlap_and_have_a_maximum_length() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let ago = |time: Duration| now.checked_sub(time).unwrap();
        assert_eq!(since(None, now), ago(DEFAULT_LENGTH));
        assert_eq!(since(Some(ago(Duration::from_mins(10))), now), ago(OVERLAP + Duration::from_mins(10)));
        assert_eq!(since(Some(ago(MAX_LENGTH * 2)), now), ago(MAX_LENGTH));
        assert_eq!(since(Some(after(now, CLOCK_TOLERANCE)), now), ago(OVERLAP));
        assert_eq!(
            since(Some(after(now, DEFAULT_LENGTH)), now),
            ago(DEFAULT_LENGTH),
            "the clock of the previous pass was ahead"
        );
    }
}
