//! Decides after each answer of ElevenLabs: save the transcript or recording, give it up, or ask again later. Pure.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use serde_json::Value;

use crate::{
    broker::transcript_jobs::{Job, JobKind},
    domain::{
        text::{MAX_REASON, cut},
        time::after,
    },
    elevenlabs::{ApiError, Conversation, ConversationStatus},
};

/// First delay. ElevenLabs creates most transcripts within 5 to 30 seconds after the call.
const FIRST_DELAY: Duration = Duration::from_secs(2);
/// Longest delay between two attempts.
const MAX_DELAY: Duration = Duration::from_mins(10);
/// Jobs that wait until the API accepts requests again are spread over this time.
const SPREAD: Duration = Duration::from_secs(2);

/// The times on which a decision depends.
pub(super) struct Schedule {
    /// Time at which the transcript is given up.
    pub give_up_at: Timestamp,
    /// Time until which the API accepts no requests. `None`: it accepts them.
    pub closed_until: Option<Timestamp>,
    /// Random number from 0 to 1. It spreads jobs that would otherwise run at the same time.
    pub jitter: f64,
}

/// The decision about a job.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Store these turns of the conversation.
    Save(Vec<Value>),
    /// Give up the transcript, for this reason.
    GiveUp(String),
    /// Ask again at this time.
    Retry { at: Timestamp, attempt: u32, reason: &'static str },
}

/// Decides what to do with `job`. `answer` is `None` if the API accepts no requests, so nothing was asked.
pub(super) fn decide(
    answer: Option<Result<Conversation, ApiError>>,
    job: &Job,
    schedule: &Schedule,
    now: Timestamp,
) -> Next {
    let reason = match answer {
        Some(Ok(conversation)) => match conversation.status() {
            _ if conversation.turns().is_empty() && conversation.never_connected() => {
                return Next::GiveUp("the call was not connected".to_owned());
            }
            ConversationStatus::Failed if conversation.turns().is_empty() => {
                let failure = conversation.failure_reason().unwrap_or("no reason given");
                return Next::GiveUp(cut(&format!("the conversation failed: {failure}"), MAX_REASON));
            }
            ConversationStatus::Done if !conversation.has_turns() => {
                "the answer of ElevenLabs has no transcript"
            }
            // A conversation that failed on the way has turns.
            ConversationStatus::Done | ConversationStatus::Failed => {
                return Next::Save(conversation.turns().to_vec());
            }
            ConversationStatus::Initiated | ConversationStatus::InProgress => {
                "the conversation is in progress"
            }
            ConversationStatus::Processing => "ElevenLabs is creating the transcript",
        },
        Some(Err(error)) => return after_failure(Some(&error), job, schedule, now),
        None => return after_failure(None, job, schedule, now),
    };
    retry_or_give_up(reason, job, schedule, now)
}

/// Decides what to do with `job` after `error`. `None`: the API accepts no requests, so nothing was asked.
pub(super) fn after_failure(
    error: Option<&ApiError>,
    job: &Job,
    schedule: &Schedule,
    now: Timestamp,
) -> Next {
    let reason = match error {
        Some(ApiError::NotFound) => match job.kind {
            JobKind::Transcript => "ElevenLabs does not know the conversation yet",
            JobKind::Recording => "ElevenLabs has no recording yet",
        },
        Some(ApiError::Unavailable(_)) => "ElevenLabs is unavailable",
        Some(ApiError::Unreadable) => "the answer of ElevenLabs cannot be read",
        // The refusal may end: the owner of the account can pay, or grant the permission.
        Some(ApiError::Refused(StatusCode::UNAUTHORIZED | StatusCode::PAYMENT_REQUIRED)) => {
            "ElevenLabs refuses this conversation at the moment"
        }
        Some(error @ (ApiError::Refused(_) | ApiError::TooLarge)) => {
            return Next::GiveUp(error.to_string());
        }
        // The answer says nothing about this conversation. It does not count as an attempt.
        None | Some(ApiError::Unauthorized(_) | ApiError::RateLimited { .. }) => {
            let open = schedule.closed_until.unwrap_or(now);
            let at = after(open, SPREAD.mul_f64(schedule.jitter));
            return Next::Retry {
                at,
                attempt: job.attempt,
                reason: "ElevenLabs accepts no requests at the moment",
            };
        }
    };
    retry_or_give_up(reason, job, schedule, now)
}

fn retry_or_give_up(reason: &'static str, job: &Job, schedule: &Schedule, now: Timestamp) -> Next {
    if now >= schedule.give_up_at {
        return Next::GiveUp(format!("given up after {} attempts: {reason}", job.attempt.saturating_add(1)));
    }
    Next::Retry {
        at: after(now, delay(job.attempt, schedule.jitter)),
        attempt: job.attempt.saturating_add(1),
        reason,
    }
}

/// The delay after `attempt`. It doubles with each attempt up to [`MAX_DELAY`]. A `jitter` of 0 shortens it
/// by a quarter; a `jitter` of 1 leaves it unchanged.
fn delay(attempt: u32, jitter: f64) -> Duration {
    let full = FIRST_DELAY.saturating_mul(1 << attempt.min(16)).min(MAX_DELAY);
    full.mul_f64(0.75 + 0.25 * jitter)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::event::ConversationId;

    fn job(attempt: u32) -> (Job, Timestamp) {
        let now = "2026-09-22T12:00:00Z".parse().unwrap();
        let first = Job::first(JobKind::Transcript, ConversationId::new("v").unwrap(), None);
        (Job { attempt, ..first }, now)
    }

    fn conversation(status: ConversationStatus) -> Conversation {
        let conversation = json!({ "status": status.as_str(), "transcript": [{ "role": "user" }] });
        serde_json::from_value(conversation).unwrap()
    }

    #[test]
    fn every_answer_leads_to_one_decision() {
        use ConversationStatus::*;
        let limited = || ApiError::RateLimited { retry_after: None };
        let refused = || ApiError::Refused(StatusCode::UNPROCESSABLE_ENTITY);
        let without_turns =
            || serde_json::from_value(json!({ "status": "done", "transcript": null })).unwrap();
        #[rustfmt::skip]
        let table = [ // answer, decision before giving up, decision at that time
            (Some(Ok(conversation(Done))),                  "save",   "save"),
            (Some(Ok(conversation(Failed))),                "save",   "save"),
            (Some(Ok(without_turns())),                     "later 1", "giveup"),
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
                let schedule = Schedule { give_up_at: after(now, left), closed_until: None, jitter: 0.5 };
                let next = match decide(answer.clone(), &job, &schedule, now) {
                    Next::Save(_) => "save".to_owned(),
                    Next::GiveUp(_) => "giveup".to_owned(),
                    Next::Retry { attempt, .. } => format!("later {attempt}"),
                };
                assert_eq!(next, expected, "{answer:?}, {left:?} left");
            }
        }
    }

    #[test]
    fn a_call_that_was_not_connected_has_no_transcript() {
        for status in ["initiated", "done", "failed"] {
            let conversation =
                json!({ "status": status, "metadata": { "phone_call": { "call_result": "busy" } } });
            let conversation = serde_json::from_value(conversation).unwrap();
            let (job, now) = job(0);
            let schedule = Schedule { give_up_at: after(now, MAX_DELAY), closed_until: None, jitter: 0.0 };
            let next = decide(Some(Ok(conversation)), &job, &schedule, now);
            assert_eq!(next, Next::GiveUp("the call was not connected".to_owned()), "{status}");
        }
    }

    #[test]
    fn a_recording_is_given_up_like_a_transcript() {
        let (job, now) = job(3);
        let job = Job { kind: JobKind::Recording, ..job };
        let schedule = Schedule { give_up_at: now, closed_until: None, jitter: 0.5 };
        let given_up = |error| after_failure(Some(&error), &job, &schedule, now);
        let expected = "given up after 4 attempts: ElevenLabs has no recording yet";
        assert_eq!(given_up(ApiError::NotFound), Next::GiveUp(expected.to_owned()));
        assert!(matches!(given_up(ApiError::TooLarge), Next::GiveUp(_)));
    }

    #[test]
    fn delays_double_up_to_their_maximum() {
        assert_eq!(delay(0, 1.0), FIRST_DELAY);
        assert_eq!(delay(3, 1.0), FIRST_DELAY * 8);
        for attempt in 0..u32::BITS * 2 {
            assert!(delay(attempt, 0.0) >= FIRST_DELAY / 2 && delay(attempt, 1.0) <= MAX_DELAY);
        }
    }

    #[test]
    fn a_closed_gate_is_waited_for() {
        let (job, now) = job(7);
        let open = after(now, Duration::from_mins(1));
        let schedule = Schedule { give_up_at: open, closed_until: Some(open), jitter: 0.0 };
        let Next::Retry { at, attempt, .. } = decide(None, &job, &schedule, now) else { panic!("must wait") };
        assert_eq!((at, attempt), (open, 7));
    }
}
