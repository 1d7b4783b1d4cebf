//! Statuses as pages show them: text, symbol, colour. Pure.

use crate::domain::call::Status;

/// A status with spaces instead of underscores.
pub fn status_text(status: Option<Status>) -> &'static str {
    match status {
        Some(Status::InitiationFailed) => "initiation failed",
        Some(Status::NoAnswer) => "no answer",
        Some(status) => status.as_str(),
        None => "unknown",
    }
}

/// A group of statuses with the same colour and shape on every page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// The call is in progress.
    Going,
    /// The conversation took place and has ended.
    Done,
    /// Nobody answered the call.
    Missed,
    /// The call failed for a technical reason.
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
            Self::Going => "in progress",
            Self::Done => "completed",
            Self::Missed => "not reached",
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
