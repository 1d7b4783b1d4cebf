//! What follows from an answer: save, give up, or ask again and when. Pure.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use serde_json::Value;

use crate::{
    broker::transcript_jobs::Job,
    domain::{
        text::{MAX_REASON, cut},
        time::after,
    },
    elevenlabs::{ApiError, Conversation, ConversationStatus},
};

/// First wait; transcripts are made within 5 to 30 seconds of the end of most calls.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Longest wait between two tries.
const MAX_WAIT: Duration = Duration::from_mins(10);
/// Jobs that waited at the gate come back spread over this.
const SPREAD: Duration = Duration::from_secs(2);

/// What a decision depends on besides the answer.
pub(super) struct Waits {
    /// When it is given up.
    pub give_up_at: Timestamp,
    /// Until when the API is closed to us.
    pub closed_until: Option<Timestamp>,
    /// From 0 to 1: keeps many jobs from coming back in step.
    pub jitter: f64,
}

/// What to do with a job.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Store these turns.
    Save(Vec<Value>),
    /// The transcript will not come, for this reason.
    GiveUp(String),
    /// Ask again.
    Later { at: Timestamp, attempt: u32, why: &'static str },
}

/// Decides from the answer; `None` where nothing was asked since the API is closed to us.
pub(super) fn decide(
    answer: Option<Result<Conversation, ApiError>>,
    job: &Job,
    waits: &Waits,
    now: Timestamp,
) -> Next {
    let why = match answer {
        Some(Ok(conversation)) => match conversation.status {
            ConversationStatus::Done => return Next::Save(conversation.transcript),
            ConversationStatus::Failed => {
                let reason = conversation.failure_reason().unwrap_or("no reason given");
                return Next::GiveUp(cut(&format!("the conversation failed: {reason}"), MAX_REASON));
            }
            ConversationStatus::Initiated | ConversationStatus::InProgress => "the conversation goes on",
            ConversationStatus::Processing => "the transcript is being made",
        },
        Some(Err(ApiError::NotFound)) => "the conversation is not known yet",
        Some(Err(ApiError::Unavailable(_))) => "ElevenLabs is unavailable",
        Some(Err(ApiError::Unreadable)) => "the answer of ElevenLabs is not understood",
        // Of this one alone: a payment that is due may be made, and a permission given.
        Some(Err(ApiError::Refused(StatusCode::UNAUTHORIZED | StatusCode::PAYMENT_REQUIRED))) => {
            "ElevenLabs refuses this conversation for now"
        }
        Some(Err(error @ (ApiError::Refused(_) | ApiError::TooLarge))) => {
            return Next::GiveUp(error.to_string());
        }
        // Nothing was learned of this conversation, so it is no attempt and no reason to give up.
        None | Some(Err(ApiError::Unauthorized(_) | ApiError::RateLimited { .. })) => {
            let open = waits.closed_until.unwrap_or(now);
            let at = after(open, SPREAD.mul_f64(waits.jitter));
            return Next::Later { at, attempt: job.attempt, why: "ElevenLabs takes no requests from us" };
        }
    };
    if now >= waits.give_up_at {
        return Next::GiveUp(format!("given up after {} tries: {why}", job.attempt.saturating_add(1)));
    }
    Next::Later {
        at: after(now, wait(job.attempt, waits.jitter)),
        attempt: job.attempt.saturating_add(1),
        why,
    }
}

/// Doubles with every attempt up to [`MAX_WAIT`]; between three quarters and all of it.
fn wait(attempt: u32, jitter: f64) -> Duration {
    let whole = FIRST_WAIT.saturating_mul(1 << attempt.min(16)).min(MAX_WAIT);
    whole.mul_f64(0.75 + 0.25 * jitter)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{domain::event::ConversationId, elevenlabs::Metadata};

    fn job(attempt: u32) -> (Job, Timestamp) {
        let now = "2026-09-22T12:00:00Z".parse().unwrap();
        (Job { conversation_id: ConversationId::new("v").unwrap(), attempt, trace: None }, now)
    }

    fn conversation(status: ConversationStatus) -> Conversation {
        let agent_id = None;
        Conversation {
            status,
            agent_id,
            transcript: vec![json!({ "role": "user" })],
            metadata: Metadata::default(),
        }
    }

    #[test]
    fn every_answer_has_its_consequence() {
        use ConversationStatus::*;
        let limited = || ApiError::RateLimited { retry_after: None };
        let refused = || ApiError::Refused(StatusCode::UNPROCESSABLE_ENTITY);
        #[rustfmt::skip]
        let table = [ // answer, within the limit, after it
            (Some(Ok(conversation(Done))),                  "save",   "save"),
            (Some(Ok(conversation(Failed))),                "giveup", "giveup"),
            (Some(Ok(conversation(Processing))),            "later 1", "giveup"),
            (Some(Ok(conversation(InProgress))),            "later 1", "giveup"),
            (Some(Ok(conversation(Initiated))),             "later 1", "giveup"),
            (Some(Err(ApiError::NotFound)),                 "later 1", "giveup"),
            (Some(Err(ApiError::Unavailable("x"))),         "later 1", "giveup"),
            (Some(Err(ApiError::Unreadable)),               "later 1", "giveup"),
            (Some(Err(refused())),                          "giveup", "giveup"),
            (Some(Err(ApiError::TooLarge)),                 "giveup", "giveup"),
            (Some(Err(ApiError::Refused(StatusCode::FORBIDDEN))), "giveup", "giveup"),
            (Some(Err(ApiError::Refused(StatusCode::PAYMENT_REQUIRED))), "later 1", "giveup"),
            (Some(Err(limited())),                          "later 0", "later 0"),
            (Some(Err(ApiError::Unauthorized(StatusCode::FORBIDDEN))), "later 0", "later 0"),
            (None,                                          "later 0", "later 0"),
        ];
        for (answer, within, beyond) in table {
            for (left, expected) in [(Duration::from_secs(1), within), (Duration::ZERO, beyond)] {
                let (job, now) = job(0);
                let waits = Waits { give_up_at: after(now, left), closed_until: None, jitter: 0.5 };
                let next = match decide(answer.clone(), &job, &waits, now) {
                    Next::Save(_) => "save".to_owned(),
                    Next::GiveUp(_) => "giveup".to_owned(),
                    Next::Later { attempt, .. } => format!("later {attempt}"),
                };
                assert_eq!(next, expected, "{answer:?}, {left:?} left");
            }
        }
    }

    #[test]
    fn waits_double_up_to_their_bound() {
        assert_eq!(wait(0, 1.0), FIRST_WAIT);
        assert_eq!(wait(3, 1.0), FIRST_WAIT * 8);
        for attempt in 0..u32::BITS * 2 {
            assert!(wait(attempt, 0.0) >= FIRST_WAIT / 2 && wait(attempt, 1.0) <= MAX_WAIT);
        }
    }

    #[test]
    fn a_closed_gate_is_waited_for() {
        let (job, now) = job(7);
        let open = after(now, Duration::from_mins(1));
        let waits = Waits { give_up_at: open, closed_until: Some(open), jitter: 0.0 };
        let Next::Later { at, attempt, .. } = decide(None, &job, &waits, now) else { panic!("must wait") };
        assert_eq!((at, attempt), (open, 7));
    }
}
