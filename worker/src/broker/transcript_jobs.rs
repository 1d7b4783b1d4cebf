//! Jobs: messages of the stream `TRANSCRIPTS`.
//!
//! A job names a conversation whose transcript or recording is to be fetched.

use std::collections::HashSet;

use aftercall_common::contract::streams::{TRANSCRIPTS, header, subject};
use async_nats::{
    HeaderMap,
    header::NATS_MESSAGE_ID,
    jetstream::{self, stream::DirectGetErrorKind},
};
use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::event::ConversationId;

/// What a job fetches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum JobKind {
    /// The turns of the conversation, and what the conversation says about its call.
    #[default]
    Transcript,
    /// The recording.
    Recording,
}

impl JobKind {
    /// The subject on which a job of the conversation `key` waits.
    fn later(self, key: &str) -> String {
        match self {
            Self::Transcript => subject::transcript_later(key),
            Self::Recording => subject::recording_later(key),
        }
    }
}

/// The job to fetch one transcript or one recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What is to be fetched.
    pub kind: JobKind,
    /// The conversation.
    pub conversation_id: ConversationId,
    /// Number of requests to ElevenLabs so far. The job carries it because the broker may forget delivery
    /// counts.
    pub attempt: u32,
    /// Trace context of the webhook that caused the job. A header of the message, not part of its body.
    pub trace: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(default)]
    kind: JobKind,
    conversation_id: String,
    attempt: u32,
}

impl Job {
    /// Reads a job.
    ///
    /// # Errors
    /// The payload is not a job. The error is a sentence with the reason.
    pub fn read(payload: &[u8], trace: Option<&str>) -> Result<Self, String> {
        let wire: Wire = serde_json::from_slice(payload)
            .map_err(|error| format!("not a job at line {} column {}", error.line(), error.column()))?;
        let conversation_id = ConversationId::new(wire.conversation_id).map_err(|error| error.to_string())?;
        let trace = trace.map(str::to_owned);
        Ok(Self { kind: wire.kind, conversation_id, attempt: wire.attempt, trace })
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(trace) = &self.trace {
            headers.insert(header::TRACEPARENT, trace.as_str());
        }
        headers
    }

    /// The first job of a conversation. `trace`: trace context of the webhook that causes it.
    pub fn first(kind: JobKind, conversation_id: ConversationId, trace: Option<&str>) -> Self {
        Self { kind, conversation_id, attempt: 0, trace: trace.map(str::to_owned) }
    }

    /// The subject on which the job waits.
    fn later(&self) -> String {
        self.kind.later(self.conversation_id.as_str())
    }

    /// The body of the message.
    pub fn payload(&self) -> Vec<u8> {
        let conversation_id = self.conversation_id.as_str().to_owned();
        let wire = Wire { kind: self.kind, conversation_id, attempt: self.attempt };
        serde_json::to_vec(&wire).expect("strings and numbers are JSON")
    }
}

/// Seconds in which several workers publish a repeated job once.
const REPETITION_WINDOW: i64 = 600;

/// Publishes the first job of a conversation, which is due at once. Has no effect if it was published before, within the
/// broker's duplicate window. `is_repeated`: the broker may know the first job, although its work is lost. It then takes
/// another one, once in ten minutes.
pub async fn enqueue_job(
    context: &jetstream::Context,
    kind: JobKind,
    id: &ConversationId,
    trace: Option<&str>,
    is_repeated: bool,
) -> Result<(), async_nats::Error> {
    let job = Job::first(kind, id.clone(), trace);
    let mut headers = job.headers();
    let prefix = match kind {
        JobKind::Transcript => "transcript",
        JobKind::Recording => "recording",
    };
    let id = id.as_str();
    let message_id = if is_repeated {
        format!("{prefix}:{id}:{}", Timestamp::now().as_second() / REPETITION_WINDOW)
    } else {
        format!("{prefix}:{id}")
    };
    headers.insert(NATS_MESSAGE_ID, message_id.as_str());
    let payload = job.payload().into();
    context.publish_with_headers(subject::TRANSCRIPT_DUE, headers, payload).await?.await?;
    Ok(())
}

/// Publishes `job` so that the broker delivers it `at` this time.
pub async fn schedule_job(
    context: &jetstream::Context,
    job: &Job,
    at: Timestamp,
) -> Result<(), async_nats::Error> {
    let mut headers = job.headers();
    headers.insert(header::SCHEDULE, format!("@at {at}").as_str());
    headers.insert(header::SCHEDULE_TARGET, subject::TRANSCRIPT_DUE);
    context.publish_with_headers(job.later(), headers, job.payload().into()).await?.await?;
    Ok(())
}

/// The conversations whose jobs of this kind wait for their time.
///
/// # Errors
/// The broker does not answer.
pub async fn waiting_conversations(
    context: &jetstream::Context,
    kind: JobKind,
) -> Result<HashSet<String>, async_nats::Error> {
    let (all, prefix) = (kind.later(">"), kind.later(""));
    let stream = context.get_stream_no_info(TRANSCRIPTS).await?;
    let subjects = stream.info_with_subjects(all).await?;
    let id =
        async |(subject, _messages): (String, usize)| Ok(subject.strip_prefix(&prefix).map(str::to_owned));
    subjects.err_into::<async_nats::Error>().try_filter_map(id).try_collect().await
}

/// The scheduled transcript job of a conversation: its number of attempts so far, and when it is due.
pub async fn scheduled_job(
    context: &jetstream::Context,
    id: &ConversationId,
) -> Result<Option<(u32, Option<Timestamp>)>, async_nats::Error> {
    let stream = context.get_stream(TRANSCRIPTS).await?;
    let message = match stream.direct_get_last_for_subject(subject::transcript_later(id.as_str())).await {
        Ok(message) => message,
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let due =
        message.headers.get(header::SCHEDULE).and_then(|at| at.as_str().strip_prefix("@at ")?.parse().ok());
    Ok(Job::read(&message.payload, None).ok().map(|job| (job.attempt, due)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_as_it_was_written_and_other_payloads_are_refused() {
        let conversation_id = ConversationId::new("conv_1").unwrap();
        for kind in [JobKind::Transcript, JobKind::Recording] {
            let first = Job::first(kind, conversation_id.clone(), Some("00-"));
            let job = Job { attempt: 3, ..first };
            assert_eq!(Job::read(&job.payload(), Some("00-")), Ok(job));
        }
        // An earlier version wrote no kind.
        let earlier = Job::read(br#"{"conversationId":"v","attempt":0}"#, None).unwrap();
        assert_eq!(earlier.kind, JobKind::Transcript);
        assert!(Job::read(b"{}", None).is_err());
        let escaping = br#"{"conversationId":"../x","attempt":0}"#;
        assert!(Job::read(escaping, None).unwrap_err().contains("conversation_id"));
    }
}
