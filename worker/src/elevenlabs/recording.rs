//! Recordings (`GET /v1/convai/conversations/{id}/audio`): MP3, streamed.

use aftercall_common::contract::body_limit;
use bytes::{Bytes, BytesMut};
use reqwest::Method;

use super::{ApiError, ElevenLabs, client::AnswerBody};
use crate::domain::event::ConversationId;

/// Largest recording that is fetched, in bytes: two hours, the longest conversation, at 128 kbit/s have 115 MB.
const MAX_BYTES: usize = body_limit::MAX_BYTES;
/// Bytes of a piece. Only one piece of a recording is in memory.
const PIECE_BYTES: usize = 1024 * 1024;

/// A recording that is being received.
#[derive(Debug)]
pub struct RecordingBody {
    body: AnswerBody,
    received: usize,
}

impl ElevenLabs {
    /// Asks once for the recording of a conversation. Closes the [`super::Gate`] if the answer concerns every
    /// request.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if ElevenLabs has no recording (yet).
    pub async fn recording(&self, id: &ConversationId) -> Result<RecordingBody, ApiError> {
        let path = format!("/v1/convai/conversations/{}/audio", id.as_str());
        let body = self.open(self.request(Method::GET, &path)).await;
        Ok(RecordingBody { body: self.concluded(body).await?, received: 0 })
    }
}

impl RecordingBody {
    /// The next piece. `None` at the end of the recording.
    ///
    /// # Errors
    /// The recording is larger than 128 MiB, is empty, ends early, or comes too slowly.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, ApiError> {
        let mut piece = BytesMut::new();
        while piece.len() < PIECE_BYTES
            && let Some(chunk) = self.body.chunk().await?
        {
            self.received += chunk.len();
            if self.received > MAX_BYTES {
                return Err(ApiError::TooLarge);
            }
            piece.extend_from_slice(&chunk);
        }
        match piece.len() {
            0 if self.received == 0 => Err(ApiError::Unavailable("the recording is empty")),
            0 => Ok(None),
            _ => Ok(Some(piece.freeze())),
        }
    }
}
