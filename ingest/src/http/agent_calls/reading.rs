//! `GET` requests about calls: lists, one call, turns, recordings.

use std::{sync::Arc, time::Duration};

use aftercall_common::{
    contract::agent_calls::{
        AUDIO_SUBJECT, CALL_SUBJECT, CallRequest, ETAG_HEADER, LIST_SUBJECT, TRANSCRIPT_SUBJECT,
    },
    http::{BoxError, ByteRange},
};
use async_nats::Client;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    Method, StatusCode,
    body::Frame,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue,
        IF_NONE_MATCH, RANGE,
    },
};
use percent_encoding::percent_decode_str;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    authorize::authorize,
    conditional::{entity_tag, is_known, range},
    parts::{First, Source},
    worker::{self, headers, json_of, text},
};
use crate::{
    admission::access::Access,
    http::{
        body::{Answer, AnswerBody},
        rejection::Rejection,
        request::RequestHead,
    },
};

/// Most answers to GET requests in memory at one time. Each needs at most the broker's `max_payload`, 1 MiB by default.
const MAX_READERS: usize = 128;
/// Longest wait of a GET request while there are that many.
const READER_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a worker's answer with a list or a call.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest query, in bytes.
const MAX_QUERY: usize = 8 * 1024;
/// Longest id in a path, in bytes, percent-encoded.
const MAX_ID: usize = 1024;
/// Answers hold personal data, and calls change.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A content of a call that is read part by part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The turns.
    Transcript,
    /// The recording.
    Audio,
}

impl Content {
    fn subject(self) -> &'static str {
        match self {
            Self::Transcript => TRANSCRIPT_SUBJECT,
            Self::Audio => AUDIO_SUBJECT,
        }
    }

    fn media_type(self) -> HeaderValue {
        match self {
            Self::Transcript => JSON,
            Self::Audio => HeaderValue::from_static("audio/mpeg"),
        }
    }
}

/// Answers requests that only read stored calls.
#[derive(Debug)]
pub(crate) struct Reading {
    client: Client,
    /// Slots for answers to readers.
    readers: Arc<Semaphore>,
}

impl Reading {
    /// Asks workers through `client`.
    pub fn new(client: Client) -> Self {
        Self { client, readers: Arc::new(Semaphore::new(MAX_READERS)) }
    }

    /// Waits for a slot for the answer to a reader.
    async fn reader(&self) -> Result<OwnedSemaphorePermit, Rejection> {
        let slot = tokio::time::timeout(READER_TIMEOUT, self.readers.clone().acquire_owned()).await;
        slot.ok().and_then(Result::ok).ok_or(Rejection::Overloaded)
    }

    /// A page of calls.
    pub async fn list(&self, head: &RequestHead) -> Result<Answer, Rejection> {
        authorize(Access::Read, head)?;
        let slot = self.reader().await?;
        let query = query(head)?.to_owned();
        let page = self.read_json(head, LIST_SUBJECT, query.into()).await?.0;
        Ok(document(head, page, None, slot))
    }

    /// One call.
    pub async fn one(&self, head: &RequestHead) -> Result<Answer, Rejection> {
        authorize(Access::Read, head)?;
        let slot = self.reader().await?;
        let request = CallRequest { id: id(head)?, query: query(head)?.to_owned() };
        let request = serde_json::to_vec(&request).map_err(|_error| Rejection::BadAnswer)?;
        let (call, version) = self.read_json(head, CALL_SUBJECT, request.into()).await?;
        let tag = version.and_then(|version| entity_tag(&version));
        Ok(document(head, call, tag, slot))
    }

    /// The turns or the recording of a call.
    pub async fn content(&self, head: &RequestHead, content: Content) -> Result<Answer, Rejection> {
        authorize(Access::Read, head)?;
        let slot = self.reader().await?;
        if !query(head)?.is_empty() {
            return Err(Rejection::InvalidRequest { detail: "This path takes no parameters." });
        }
        let (client, trace) = (self.client.clone(), head.trace_context());
        let source = Source { client, subject: content.subject(), id: id(head)?, trace };
        let request = &head.parts.headers;
        // The first part may not be needed if the request is conditional.
        let is_conditional = request.contains_key(RANGE) || request.contains_key(IF_NONE_MATCH);
        let is_head = head.parts.method == Method::HEAD;
        let wanted = if is_head || is_conditional { 0 } else { source.part_bytes() };
        let first = source.first(wanted).await?;
        let tag = entity_tag(&first.version).ok_or(Rejection::BadAnswer)?;
        let mut answer = Answer::default();
        answer.headers_mut().insert(CACHE_CONTROL, PRIVATE);
        answer.headers_mut().insert(ETAG, tag.clone());
        if is_known(request, &tag) {
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(answer);
        }
        let requested = range(request, &tag).filter(|_| content == Content::Audio && !is_head);
        let requested = requested.map_or(ByteRange::Whole, |range| ByteRange::read(range, first.length));
        let (from, to) = match requested {
            ByteRange::Whole => (0, first.length),
            ByteRange::Part(from, to) => {
                *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
                let range = format!("bytes {from}-{to}/{}", first.length);
                answer
                    .headers_mut()
                    .extend(HeaderValue::try_from(range).ok().map(|range| (CONTENT_RANGE, range)));
                (from, to + 1)
            }
            ByteRange::Unsatisfiable => return Err(Rejection::RangeNotSatisfiable { length: first.length }),
        };
        answer.headers_mut().insert(CONTENT_TYPE, content.media_type());
        answer.headers_mut().insert(CONTENT_LENGTH, (to - from).into());
        if content == Content::Audio {
            answer.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        }
        if !is_head {
            *answer.body_mut() = stream(source, first, from, to, slot);
        }
        Ok(answer)
    }

    /// Reads the JSON and the version of an answer.
    async fn read_json(
        &self,
        head: &RequestHead,
        subject: &'static str,
        request: Bytes,
    ) -> Result<(Bytes, Option<String>), Rejection> {
        let headers = headers(head.trace_context().as_deref());
        let answer = worker::read(&self.client, subject, request, headers, READ_TIMEOUT).await?;
        let version = text(&answer, ETAG_HEADER);
        Ok((json_of(answer)?, version))
    }
}

/// The answer with a JSON document, or 304 if the sender has this version.
fn document(head: &RequestHead, json: Bytes, tag: Option<HeaderValue>, slot: OwnedSemaphorePermit) -> Answer {
    let mut answer = Answer::default();
    answer.headers_mut().insert(CACHE_CONTROL, PRIVATE);
    let is_known = tag.as_ref().is_some_and(|tag| is_known(&head.parts.headers, tag));
    answer.headers_mut().extend(tag.map(|tag| (ETAG, tag)));
    if is_known {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        return answer;
    }
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer.headers_mut().insert(CONTENT_LENGTH, json.len().into());
    if head.parts.method != Method::HEAD {
        *answer.body_mut() = AnswerBody::held(json, slot);
    }
    answer
}

fn stream(source: Source, first: First, from: u64, to: u64, slot: OwnedSemaphorePermit) -> AnswerBody {
    let parts = source.rest(first, from, to).map(|part| match part {
        Ok(bytes) => Ok(Frame::data(bytes)),
        Err(rejection) => {
            tracing::warn!(code = rejection.code().1, "an answer to a reader ends early");
            Err(BoxError::from("a part of the content is missing"))
        }
    });
    AnswerBody::streamed(StreamBody::new(parts).boxed_unsync(), slot)
}

fn query(head: &RequestHead) -> Result<&str, Rejection> {
    let query = head.parts.uri.query().unwrap_or_default();
    if query.len() > MAX_QUERY {
        return Err(Rejection::InvalidRequest { detail: "The query is longer than 8192 bytes." });
    }
    Ok(query)
}

/// The id in the path. Empty segments of the path do not count.
fn id(head: &RequestHead) -> Result<String, Rejection> {
    let id = head.parts.uri.path().split('/').filter(|segment| !segment.is_empty()).nth(2);
    let id = id.filter(|id| id.len() <= MAX_ID).ok_or(Rejection::NotFound)?;
    let decoded = percent_decode_str(id).decode_utf8().map_err(|_error| Rejection::NotFound)?;
    Ok(decoded.into_owned())
}
