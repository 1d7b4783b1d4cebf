//! Turns and recordings, read from workers part by part.
//!
//! The gateway asks for the next part only when the client has taken the parts before, so a slow client costs a
//! bounded number of parts. Any worker answers any part, so a worker that stops interrupts no download.
//!
//! Invariant: all parts of an answer are of one version. If the content changes meanwhile, the answer ends
//! early, and the client sees that bytes are missing.

use std::time::Duration;

use aftercall_common::contract::agent_calls::{ETAG_HEADER, LENGTH_HEADER, MAX_PART_BYTES, PartRequest};
use async_nats::{Client, Request};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use hyper::StatusCode;
use tokio::time::Instant;

use super::worker::{ask, headers, text};
use crate::http::rejection::{Rejection, WorkerRefusal};

/// Parts that are requested ahead of the client.
const AHEAD: usize = 2;
/// Longest wait for one attempt.
const PART_TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts for one part, and the pause between them. A worker that stops needs a moment to leave.
const ATTEMPTS: usize = 3;
const RETRY_DELAY: Duration = Duration::from_millis(300);
/// After this time no further part is requested, however slowly the client takes them.
const MAX_DURATION: Duration = Duration::from_mins(15);
/// Bytes of an answer of a worker besides the part.
const HEADER_BYTES: usize = 4096;

/// A content that workers read part by part.
#[derive(Clone, Debug)]
pub struct Source {
    /// The client of the broker.
    pub client: Client,
    /// The subject of the requests.
    pub subject: &'static str,
    /// The id of the call.
    pub id: String,
    /// The trace context of the request.
    pub trace: Option<String>,
}

/// The first part of a content, and what is known of the whole.
#[derive(Clone, Debug)]
pub struct First {
    /// Size of the whole content in bytes.
    pub length: u64,
    /// The version of the content.
    pub version: String,
    /// The first bytes.
    pub bytes: Bytes,
}

impl Source {
    /// Most bytes of a part: a part and its headers must fit into a message of the broker.
    pub fn part_bytes(&self) -> u64 {
        let room = self.client.server_info().max_payload.saturating_sub(HEADER_BYTES);
        MAX_PART_BYTES.min(room as u64).max(1)
    }

    /// Reads the first `length` bytes. With 0, only size and version are read.
    pub async fn first(&self, length: u64) -> Result<First, Rejection> {
        let (size, version, bytes) = self.part(0, length, None).await?;
        Ok(First { length: size, version, bytes })
    }

    /// The bytes `from` to `to` (without the last) of the version that `first` has begun. Ends with an error if
    /// a part is missing.
    pub fn rest(self, first: First, from: u64, to: u64) -> impl Stream<Item = Result<Bytes, Rejection>> {
        let deadline = Instant::now() + MAX_DURATION;
        let step = self.part_bytes();
        // The first part serves if the range begins in it.
        let held = first.bytes.len() as u64;
        let beginning = (from < held).then(|| {
            let end = to.min(held);
            let index = |n| usize::try_from(n).unwrap_or(usize::MAX);
            Ok(first.bytes.slice(index(from)..index(end)))
        });
        let begin = from.max(held);
        let offsets = std::iter::successors((begin < to).then_some(begin), move |offset| {
            offset.checked_add(step).filter(|next| *next < to)
        });
        let parts = stream::iter(offsets).map(move |offset| {
            let (source, first) = (self.clone(), first.clone());
            async move {
                if Instant::now() > deadline {
                    return Err(Rejection::Overloaded);
                }
                let length = step.min(to - offset);
                let (size, _, bytes) = source.part(offset, length, Some(first.version)).await?;
                let is_whole = bytes.len() as u64 == length && size == first.length;
                if is_whole { Ok(bytes) } else { Err(Rejection::BadAnswer) }
            }
        });
        stream::iter(beginning).chain(parts.buffered(AHEAD))
    }

    /// Reads one part. Returns the size of the content, its version and the bytes.
    async fn part(
        &self,
        offset: u64,
        length: u64,
        tag: Option<String>,
    ) -> Result<(u64, String, Bytes), Rejection> {
        let request = PartRequest { id: self.id.clone(), offset, length, tag };
        let request = serde_json::to_vec(&request).map_err(|_error| Rejection::BadAnswer)?;
        let mut attempt = 1;
        let answer = loop {
            let sent = Request::new().payload(request.clone().into()).timeout(Some(PART_TIMEOUT));
            let sent = sent.headers(headers(self.trace.as_deref()));
            match ask(&self.client, self.subject, sent, Rejection::NoWorker).await {
                Err(error) if attempt < ATTEMPTS && is_transient(&error) => {
                    attempt += 1;
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                answer => break answer?,
            }
        };
        let size = text(&answer, LENGTH_HEADER).and_then(|size| size.parse().ok());
        let version = text(&answer, ETAG_HEADER);
        match size.zip(version) {
            Some((size, version)) if answer.payload.len() as u64 <= length => {
                Ok((size, version, answer.payload))
            }
            Some(_) | None => Err(Rejection::BadAnswer),
        }
    }
}

/// Whether another attempt can succeed.
fn is_transient(error: &Rejection) -> bool {
    match error {
        Rejection::NoWorker => true,
        Rejection::Worker(WorkerRefusal { status, .. }) => *status == StatusCode::SERVICE_UNAVAILABLE,
        _ => false,
    }
}
