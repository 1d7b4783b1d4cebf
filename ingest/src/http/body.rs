//! The body of an answer: bytes in memory, or a stream of parts.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use aftercall_common::http::{BoxError, Reply};
use bytes::Bytes;
use http_body_util::{Either, Full, combinators::UnsyncBoxBody};
use hyper::{
    Response,
    body::{Body, Frame, SizeHint},
};
use tokio::sync::OwnedSemaphorePermit;

/// An answer of the public listener.
pub type Answer = Response<AnswerBody>;

/// The body of an answer.
#[derive(Debug)]
pub struct AnswerBody {
    bytes: Either<Full<Bytes>, UnsyncBoxBody<Bytes, BoxError>>,
    /// Held until the answer is sent, so that the number of answers in memory stays bounded.
    _slot: Option<OwnedSemaphorePermit>,
}

impl AnswerBody {
    /// `bytes`, sent while holding `slot`.
    pub fn held(bytes: Bytes, slot: OwnedSemaphorePermit) -> Self {
        Self { bytes: Either::Left(Full::new(bytes)), _slot: Some(slot) }
    }

    /// A stream of parts, sent while holding `slot`.
    pub fn streamed(parts: UnsyncBoxBody<Bytes, BoxError>, slot: OwnedSemaphorePermit) -> Self {
        Self { bytes: Either::Right(parts), _slot: Some(slot) }
    }
}

/// No bytes.
impl Default for AnswerBody {
    fn default() -> Self {
        Full::default().into()
    }
}

impl From<Full<Bytes>> for AnswerBody {
    fn from(bytes: Full<Bytes>) -> Self {
        Self { bytes: Either::Left(bytes), _slot: None }
    }
}

/// The answer with a body in memory.
pub fn in_memory(reply: Reply) -> Answer {
    reply.map(AnswerBody::from)
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.bytes).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes.size_hint()
    }
}
