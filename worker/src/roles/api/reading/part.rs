//! A part of the turns or of the recording of a call.

use aftercall_common::contract::agent_calls::{MAX_PART_BYTES, PartRequest};

use super::error::ReadingError;
use crate::store::views::{Content, Part, Views};

/// The content of which a part is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The turns, as JSON.
    Transcript,
    /// The recording.
    Recording,
}

/// The part that `request` names.
pub async fn part(views: &Views, kind: Kind, request: &PartRequest) -> Result<Content, ReadingError> {
    let part = Part { offset: request.offset, length: request.length.min(MAX_PART_BYTES) };
    let content = match kind {
        Kind::Transcript => {
            let call = views.transcript_call(&request.id).await?.ok_or(ReadingError::NotFound)?;
            let content = views.transcript(&call, part).await?;
            let reason = if call.is_transcript_pending() {
                "it is being fetched"
            } else {
                "none is stored, and none is being fetched"
            };
            content.ok_or(ReadingError::NoTranscript(reason))?
        }
        Kind::Recording => {
            let call = views.recording_call(&request.id).await?.ok_or(ReadingError::NotFound)?;
            views.recording(&call, part).await?.ok_or(ReadingError::NoRecording)?
        }
    };
    match &request.tag {
        Some(tag) if *tag != content.tag => Err(ReadingError::Changed),
        Some(_) | None => Ok(content),
    }
}
