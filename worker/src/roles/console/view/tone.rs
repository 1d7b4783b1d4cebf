//! Statuses and outcomes as pages show them: text, symbol, colour. Pure.

use crate::domain::call::{Disposition, Outcome, Status};

/// A status with spaces instead of underscores.
pub fn status_text(status: Option<Status>) -> &'static str {
    match status {
        Some(Status::InitiationFailed) => "initiation failed",
        Some(Status::NoAnswer) => "no answer",
        Some(status) => status.as_str(),
        None => "unknown",
    }
}

/// An outcome in plain words.
pub fn outcome_text(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NoAnswer => "no answer",
        Outcome::Unknown => "not concluded",
        outcome => outcome.as_str(),
    }
}

/// The name of the outcomes together, if they are those that nobody answered.
pub fn group_name(outcomes: &[Outcome]) -> Option<&'static str> {
    (outcomes == Tone::Missed.outcomes()).then(|| Tone::Missed.name())
}

/// How a call stands, in plain words.
pub fn disposition_text(disposition: Disposition) -> &'static str {
    match disposition {
        Disposition::Going(Status::Initiated) => "dialling",
        Disposition::Going(Status::Answered) => "talking",
        Disposition::Going(status) => status_text(Some(status)),
        Disposition::Stuck => "stuck",
        Disposition::Over(outcome) => outcome_text(outcome),
    }
}

/// A group of statuses and of outcomes with the same colour and shape on every page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// The call is in progress.
    Going,
    /// A person answered, and the conversation has ended.
    Done,
    /// Nobody answered the call. A voicemail box may have.
    Missed,
    /// The call failed for a technical reason, or nobody knows how it ended.
    Failed,
}

impl Tone {
    /// All tones, in the order in which charts stack them.
    pub const ALL: [Self; 4] = [Self::Done, Self::Going, Self::Missed, Self::Failed];

    /// The tone of a status. An unknown status has the tone of a failure.
    pub fn of(status: Option<Status>) -> Self {
        match status {
            Some(Status::Initiated | Status::Ringing | Status::Answered) => Self::Going,
            Some(Status::Completed | Status::Ended) => Self::Done,
            Some(
                Status::Busy | Status::NoAnswer | Status::Canceled | Status::Unreachable | Status::Rejected,
            ) => Self::Missed,
            Some(Status::Failed | Status::InitiationFailed) | None => Self::Failed,
        }
    }

    /// The tone of an outcome. Voicemail has not the tone of a conversation with a person.
    pub fn of_outcome(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Answered => Self::Done,
            Outcome::Voicemail
            | Outcome::Busy
            | Outcome::NoAnswer
            | Outcome::Rejected
            | Outcome::Unreachable
            | Outcome::Canceled => Self::Missed,
            Outcome::Failed | Outcome::Unknown => Self::Failed,
        }
    }

    /// The outcomes with this tone, in the order of [`Outcome::ALL`].
    pub fn outcomes(self) -> Vec<Outcome> {
        Outcome::ALL.into_iter().filter(|outcome| Self::of_outcome(*outcome) == self).collect()
    }

    /// The tone of a call that stands like this.
    pub fn of_disposition(disposition: Disposition) -> Self {
        match disposition {
            Disposition::Going(_) => Self::Going,
            Disposition::Stuck => Self::Failed,
            Disposition::Over(outcome) => Self::of_outcome(outcome),
        }
    }

    /// The class of the tone in `console.css`.
    pub fn class(self) -> &'static str {
        match self {
            Self::Going => "going",
            Self::Done => "done",
            Self::Missed => "missed",
            Self::Failed => "failed",
        }
    }

    /// The name of the tone in legends.
    pub fn name(self) -> &'static str {
        match self {
            Self::Going => "no outcome yet",
            Self::Done => "answered",
            Self::Missed => "not answered",
            Self::Failed => "failed",
        }
    }
}

/// The symbol in front of a status. Each status of a call in progress has a symbol of its own; any other
/// status has the symbol of its tone.
pub fn glyph(status: Option<Status>) -> &'static str {
    match status {
        Some(Status::Initiated) => "initiated",
        Some(Status::Ringing) => "ringing",
        Some(Status::Answered) => "answered",
        status => Tone::of(status).class(),
    }
}

/// The symbol in front of an outcome. Voicemail has a symbol of its own; any other outcome has the symbol of its
/// tone.
pub fn outcome_glyph(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Voicemail => "voicemail",
        outcome => Tone::of_outcome(outcome).class(),
    }
}

/// The symbol in front of a call that stands like this.
pub fn disposition_glyph(disposition: Disposition) -> &'static str {
    match disposition {
        Disposition::Going(status) => glyph(Some(status)),
        Disposition::Stuck => "stuck",
        Disposition::Over(outcome) => outcome_glyph(outcome),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_conversation_with_a_person_has_the_tone_of_success() {
        for outcome in Outcome::ALL {
            let is_done = Tone::of_outcome(outcome) == Tone::Done;
            assert_eq!(is_done, outcome == Outcome::Answered, "{outcome:?}");
        }
        assert_eq!(Tone::of_disposition(Disposition::Stuck), Tone::Failed);
    }
}
