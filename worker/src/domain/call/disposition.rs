//! How a call stands, as people ask for it: in progress, stuck, or over with an outcome. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::{outcome::Outcome, status::Status};
use crate::domain::time::after;

/// Longest time from the first event of a call to its end: ElevenLabs ends a conversation after two hours at the
/// latest, and the telephone may ring before.
pub const MAX_CALL: Duration = Duration::from_mins(135);

/// Whether a call that began at `began` is over at `now`, whatever its events say.
pub fn is_too_long(began: Timestamp, now: Timestamp) -> bool {
    after(began, MAX_CALL) < now
}

/// How a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The call is in progress, with this status.
    Going(Status),
    /// No event ended the call, but it began longer ago than a call can last.
    Stuck,
    /// The call is over.
    Over(Outcome),
}

impl Disposition {
    /// How a call stands at `now`. `status` is `None` if this version does not know the stored word. A call that
    /// a worker of an earlier version wrote has no outcome; then the status decides.
    pub fn of(status: Option<Status>, outcome: Option<Outcome>, began: Timestamp, now: Timestamp) -> Self {
        match (outcome, status) {
            (Some(outcome), _) => Self::Over(outcome),
            (None, None) => Self::Over(Outcome::Unknown),
            (None, Some(status)) => match Outcome::of_status(status) {
                Some(outcome) => Self::Over(outcome),
                None if is_too_long(began, now) => Self::Stuck,
                None => Self::Going(status),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_call_is_stuck_when_it_lasts_longer_than_a_call_can() {
        let began = Timestamp::from_second(1_790_000_000).unwrap();
        let last = after(began, MAX_CALL);
        let late = after(last, Duration::from_millis(1));
        #[rustfmt::skip]
        let table = [ // status, outcome, now, disposition
            (Some(Status::Ringing),   None,                     last, Disposition::Going(Status::Ringing)),
            (Some(Status::Ringing),   None,                     late, Disposition::Stuck),
            (Some(Status::Answered),  None,                     late, Disposition::Stuck),
            (Some(Status::Ringing),   Some(Outcome::Unknown),   late, Disposition::Over(Outcome::Unknown)),
            (Some(Status::Completed), Some(Outcome::Voicemail), last, Disposition::Over(Outcome::Voicemail)),
            (Some(Status::Completed), None,                     late, Disposition::Over(Outcome::Answered)),
            (Some(Status::NoAnswer),  None,                     last, Disposition::Over(Outcome::NoAnswer)),
            (None,                    None,                     last, Disposition::Over(Outcome::Unknown)),
        ];
        for (status, outcome, now, expected) in table {
            assert_eq!(Disposition::of(status, outcome, began, now), expected, "{status:?} {outcome:?}");
        }
    }
}
