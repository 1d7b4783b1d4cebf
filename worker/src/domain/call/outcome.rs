//! How a call turned out: one table for the evidence of all sources.

use jiff::Timestamp;

use super::status::Status;

/// How a call turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A person answered. Also the outcome of a completed call without other evidence.
    Answered,
    /// A machine answered.
    Voicemail,
    /// The line was busy.
    Busy,
    /// Nobody answered.
    NoAnswer,
    /// The callee rejected the call.
    Rejected,
    /// The callee could not be reached.
    Unreachable,
    /// The caller canceled the call before it was answered.
    Canceled,
    /// The call failed for another reason.
    Failed,
    /// No source ever concluded the call.
    Unknown,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 9] = [
        Self::Answered,
        Self::Voicemail,
        Self::Busy,
        Self::NoAnswer,
        Self::Rejected,
        Self::Unreachable,
        Self::Canceled,
        Self::Failed,
        Self::Unknown,
    ];

    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Voicemail => "voicemail",
            Self::Busy => "busy",
            Self::NoAnswer => "no_answer",
            Self::Rejected => "rejected",
            Self::Unreachable => "unreachable",
            Self::Canceled => "canceled",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// The outcome of a word in the database.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }

    /// Whether another call to the person makes sense. It does not if the person was reached or rejected the call, if the
    /// caller canceled it, or if nobody knows how it turned out.
    pub fn is_worth_another_try(self) -> bool {
        match self {
            Self::Voicemail | Self::Busy | Self::NoAnswer | Self::Unreachable | Self::Failed => true,
            Self::Answered | Self::Rejected | Self::Canceled | Self::Unknown => false,
        }
    }

    /// The outcome that follows from a status alone. `None`: the call may go on.
    pub fn of_status(status: Status) -> Option<Self> {
        outcome(&Evidence { status: Some(status), ..Evidence::default() })
    }

    /// The rank: of two claims, the one with the higher rank prevails. A specific outcome says more than a
    /// general one.
    pub fn rank(self) -> i32 {
        match self {
            Self::Unknown => 0,
            Self::Answered => 1,
            Self::Failed => 2,
            Self::Voicemail => 3,
            Self::Busy | Self::NoAnswer | Self::Unreachable | Self::Canceled => 4,
            // It prevails over `Busy`, because Twilio, trunks and ElevenLabs report a rejected call as busy.
            Self::Rejected => 5,
        }
    }
}

/// What an event says about the outcome. All words are in normalized spelling.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The status that the event claims.
    pub status: Option<Status>,
    /// How the call ended, in the words of the source: `call_result` or `failure_reason` of ElevenLabs, `CallStatus` of
    /// Twilio.
    pub result: Option<String>,
    /// The SIP code of Twilio or of the trunk.
    pub sip_code: Option<String>,
    /// The kind of party that answered.
    pub answered_by: Option<String>,
}

/// The outcome that follows from the evidence of one event. `None`: the event says nothing about it.
pub fn outcome(evidence: &Evidence) -> Option<Outcome> {
    let by_code = evidence.sip_code.as_deref().and_then(of_sip_code);
    let by_result = match evidence.result.as_deref() {
        Some("busy") => Some(Outcome::Busy),
        Some("noanswer") => Some(Outcome::NoAnswer),
        Some("canceled" | "cancelled") => Some(Outcome::Canceled),
        Some("voicemail") => Some(Outcome::Voicemail),
        _ => None,
    };
    let by_status = match evidence.status {
        Some(Status::Busy) => Some(Outcome::Busy),
        Some(Status::NoAnswer) => Some(Outcome::NoAnswer),
        Some(Status::Canceled) => Some(Outcome::Canceled),
        Some(Status::Unreachable) => Some(Outcome::Unreachable),
        Some(Status::Rejected) => Some(Outcome::Rejected),
        _ => None,
    };
    match (by_status.or(by_result), by_code) {
        // Twilio and trunks report a rejected call as busy.
        (Some(Outcome::Busy), Some(Outcome::Rejected)) => return Some(Outcome::Rejected),
        (Some(outcome), _) => return Some(outcome),
        (None, _) => {}
    }
    match evidence.status {
        Some(Status::InitiationFailed | Status::Failed) => Some(by_code.unwrap_or(Outcome::Failed)),
        _ if evidence.answered_by.as_deref().is_some_and(is_machine) => Some(Outcome::Voicemail),
        Some(Status::Completed | Status::Ended) => Some(Outcome::Answered),
        _ => None,
    }
}

/// Whether a machine answered, in the words of ElevenLabs and of Twilio's answering machine detection.
fn is_machine(answered_by: &str) -> bool {
    answered_by == "voicemail" || answered_by == "fax" || answered_by.starts_with("machine")
}

/// The outcome of a SIP code (RFC 3261, section 21; 607 is from RFC 8197).
fn of_sip_code(code: &str) -> Option<Outcome> {
    Some(match code {
        "486" | "600" => Outcome::Busy,
        "603" | "607" => Outcome::Rejected,
        "404" | "410" | "480" | "484" | "604" => Outcome::Unreachable,
        "408" | "487" => Outcome::NoAnswer,
        _ => return None,
    })
}

/// The status that a failure with this SIP code has. `None`: the code determines none.
pub fn status_of_sip_code(code: &str) -> Option<Status> {
    match of_sip_code(code)? {
        Outcome::Busy => Some(Status::Busy),
        Outcome::Rejected => Some(Status::Rejected),
        Outcome::Unreachable => Some(Status::Unreachable),
        Outcome::NoAnswer => Some(Status::NoAnswer),
        Outcome::Answered | Outcome::Voicemail | Outcome::Canceled | Outcome::Failed | Outcome::Unknown => {
            None
        }
    }
}

/// An outcome that an event claims, and the values that decide between two such claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeClaim {
    /// The outcome.
    pub outcome: Outcome,
    /// Time of the event.
    pub at: Timestamp,
    /// Id of the event.
    pub event_id: String,
    /// Whether the call is over. Until then, the outcome is not shown.
    pub is_over: bool,
}

impl OutcomeClaim {
    /// The key of the claim. Of two claims, the claim with the greater key prevails.
    pub fn key(&self) -> (i32, Timestamp, &str) {
        (self.outcome.rank(), self.at, &self.event_id)
    }

    /// The claim that an event with this `status` makes.
    pub fn of_status(status: Status, at: Timestamp, event_id: &str) -> Option<Self> {
        let outcome = Outcome::of_status(status)?;
        Some(Self { outcome, at, event_id: event_id.to_owned(), is_over: status.is_finished() })
    }

    /// The claim that prevails. The call is over if either claim says so.
    pub(super) fn join(ours: Option<Self>, theirs: Option<Self>) -> Option<Self> {
        match (ours, theirs) {
            (Some(ours), Some(theirs)) => {
                let is_over = ours.is_over || theirs.is_over;
                let prevails = if ours.key() < theirs.key() { theirs } else { ours };
                Some(Self { is_over, ..prevails })
            }
            (ours, theirs) => ours.or(theirs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_evidence_of_an_event_decides_its_outcome() {
        use Outcome as O;
        use Status as S;
        #[rustfmt::skip]
        let table = [ // status, result, SIP code, answered by, outcome
            (Some(S::Ringing),          "",          "",    "",              None),
            (Some(S::Answered),         "",          "",    "",              None),
            (Some(S::Completed),        "answered",  "",    "",              Some(O::Answered)),
            (Some(S::Ended),            "completed", "200", "human",         Some(O::Answered)),
            (Some(S::Completed),        "voicemail", "",    "",              Some(O::Voicemail)),
            (Some(S::Ended),            "completed", "",    "machinestart",  Some(O::Voicemail)),
            (None,                      "",          "",    "machineendbeep", Some(O::Voicemail)),
            (None,                      "",          "",    "human",         None),
            (Some(S::Busy),             "busy",      "487", "",              Some(O::Busy)),
            (Some(S::Busy),             "busy",      "603", "",              Some(O::Rejected)),
            (Some(S::InitiationFailed), "busy",      "",    "",              Some(O::Busy)),
            (Some(S::InitiationFailed), "busy",      "603", "",              Some(O::Rejected)),
            (Some(S::InitiationFailed), "noanswer",  "",    "",              Some(O::NoAnswer)),
            (Some(S::InitiationFailed), "unknown",   "",    "",              Some(O::Failed)),
            (Some(S::InitiationFailed), "unknown",   "480", "",              Some(O::Unreachable)),
            (Some(S::InitiationFailed), "unknown",   "503", "",              Some(O::Failed)),
            (Some(S::Failed),           "failed",    "404", "",              Some(O::Unreachable)),
            (Some(S::Canceled),         "",          "",    "",              Some(O::Canceled)),
            (Some(S::Rejected),         "",          "",    "",              Some(O::Rejected)),
        ];
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        for (status, result, code, answered_by, expected) in table {
            let (result, sip_code, answered_by) = (text(result), text(code), text(answered_by));
            let evidence = Evidence { status, result, sip_code, answered_by };
            assert_eq!(outcome(&evidence), expected, "{evidence:?}");
        }
        for status in Status::ALL.into_iter().filter(|status| status.is_finished()) {
            assert!(Outcome::of_status(status).is_some(), "{status}: a call that is over has an outcome");
        }
    }
}
