//! The endpoints of the NATS service, and how each answers a request.

use std::sync::Arc;

use aftercall_common::contract::agent_calls::{
    AUDIO_SUBJECT, CALL_SUBJECT, CallRequest, ETAG_HEADER, IDEMPOTENCY_KEY_HEADER, LENGTH_HEADER,
    LIST_SUBJECT, PLACE_SUBJECT, PLACEMENT_ID_HEADER, PartRequest, REPLAYED_HEADER, Refusal, STATUS_SUBJECT,
    TRANSCRIPT_SUBJECT,
};
use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{
    fit::{Omitted, fit},
    lookup::{Lookup, LookupRequest},
    placing::place,
    reading::{self, Kind, ReadingError},
};
use crate::{Context, store::views::Views};

/// Bytes of an answer besides its body; the broker counts both against `max_payload`.
const HEADER_BYTES: usize = 1024;

/// An endpoint of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The status of one call. ElevenLabs is asked if the stored status is missing or stale.
    Status,
    /// Places a call.
    Place,
    /// A page of calls.
    List,
    /// One call.
    Call,
    /// A part of the turns of a call.
    Transcript,
    /// A part of the recording of a call.
    Audio,
}

/// The answer to a request: body and headers, or a refusal with a sentence for the caller.
pub type Answer = Result<(Bytes, HeaderMap), (Refusal, String)>;

/// Everything that answers need.
pub struct Answering {
    /// Settings and connections of the worker.
    pub context: Arc<Context>,
    /// Status lookups.
    pub lookup: Lookup,
    /// The stored calls.
    pub views: Views,
}

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Self; 6] =
        [Self::Status, Self::Place, Self::List, Self::Call, Self::Transcript, Self::Audio];

    /// Its subject.
    pub fn subject(self) -> &'static str {
        match self {
            Self::Status => STATUS_SUBJECT,
            Self::Place => PLACE_SUBJECT,
            Self::List => LIST_SUBJECT,
            Self::Call => CALL_SUBJECT,
            Self::Transcript => TRANSCRIPT_SUBJECT,
            Self::Audio => AUDIO_SUBJECT,
        }
    }

    /// The name of the span of a request.
    pub fn span(self) -> &'static str {
        match self {
            Self::Status => "process agent-calls.status",
            Self::Place => "process agent-calls.place",
            Self::List => "process agent-calls.list",
            Self::Call => "process agent-calls.call",
            Self::Transcript => "process agent-calls.transcript",
            Self::Audio => "process agent-calls.audio",
        }
    }

    /// Most requests that are answered at the same time. ElevenLabs answers placements slowly, and allows a
    /// few dozen calls at the same time. A list or a transcript can have several MiB.
    pub fn parallel(self) -> usize {
        match self {
            Self::Status | Self::Place => 64,
            Self::List | Self::Call | Self::Audio => 32,
            Self::Transcript => 8,
        }
    }
}

impl Answering {
    /// The answer to the request `message`.
    pub async fn answer(&self, endpoint: Endpoint, message: &Message) -> Answer {
        let room = self.context.nats.max_payload().saturating_sub(HEADER_BYTES);
        let answer = match endpoint {
            Endpoint::Status => self.status(message, room).await,
            Endpoint::Place => self.place(message).await,
            Endpoint::List | Endpoint::Call | Endpoint::Transcript | Endpoint::Audio => {
                self.read(endpoint, message, room).await
            }
        };
        answer.map(|(body, values)| {
            let mut headers = HeaderMap::new();
            for (name, value) in values {
                if let Some(value) = value {
                    headers.insert(name, value);
                }
            }
            (body, headers)
        })
    }

    async fn status(&self, message: &Message, room: usize) -> Result<Body, (Refusal, String)> {
        let found = match LookupRequest::read(&message.payload) {
            Ok(query) => self.lookup.status(&self.context, query).await,
            Err(error) => Err(error),
        };
        self.context.metrics.lookup(found.as_ref().map_or_else(|error| error.refusal().code(), |_| "ok"));
        let call = found.map_err(|error| (error.refusal(), error.to_string()))?;
        Ok((fit(call, room, Omitted::Null).into(), Vec::new()))
    }

    async fn place(&self, message: &Message) -> Result<Body, (Refusal, String)> {
        let headers = message.headers.as_ref();
        let key = headers.and_then(|headers| headers.get(IDEMPOTENCY_KEY_HEADER)).map(ToString::to_string);
        let placed = place(&self.context, self.lookup.api(), &message.payload, key).await;
        self.context
            .metrics
            .placement(placed.as_ref().map_or_else(|error| error.refusal().code(), |_| "placed"));
        let placed = placed.map_err(|error| (error.refusal(), error.to_string()))?;
        let id = placed.answer["placementId"].as_str().map(str::to_owned);
        let replayed = placed.is_replayed.then(|| "true".to_owned());
        let headers = vec![(PLACEMENT_ID_HEADER, id), (REPLAYED_HEADER, replayed)];
        Ok((placed.answer.to_string().into(), headers))
    }

    async fn read(
        &self,
        endpoint: Endpoint,
        message: &Message,
        room: usize,
    ) -> Result<Body, (Refusal, String)> {
        let read = self.reading(endpoint, message, room).await;
        self.context.metrics.read(read.as_ref().map_or_else(|error| error.refusal().code(), |_| "ok"));
        read.map_err(|error| (error.refusal(), error.to_string()))
    }

    async fn reading(
        &self,
        endpoint: Endpoint,
        message: &Message,
        room: usize,
    ) -> Result<Body, ReadingError> {
        let kind = match endpoint {
            Endpoint::Call => {
                let (body, version) =
                    reading::one(&self.views, &request::<CallRequest>(message)?, room).await?;
                return Ok((body.into(), vec![(ETAG_HEADER, version)]));
            }
            Endpoint::Transcript => Kind::Transcript,
            Endpoint::Audio => Kind::Recording,
            Endpoint::List | Endpoint::Status | Endpoint::Place => {
                let query = std::str::from_utf8(&message.payload)
                    .map_err(|_error| ReadingError::Invalid("the query must be UTF-8".to_owned()))?;
                return Ok((reading::list(&self.views, query, room).await?.into(), Vec::new()));
            }
        };
        let part = reading::part(&self.views, kind, &request::<PartRequest>(message)?).await?;
        let headers = vec![(ETAG_HEADER, Some(part.tag)), (LENGTH_HEADER, Some(part.length.to_string()))];
        Ok((part.bytes, headers))
    }
}

/// Body and headers of an answer. A header without a value is left out.
type Body = (Bytes, Vec<(&'static str, Option<String>)>);

fn request<T: DeserializeOwned>(message: &Message) -> Result<T, ReadingError> {
    serde_json::from_slice(&message.payload)
        .map_err(|_error| ReadingError::Invalid("the gateway sent a request of another version".to_owned()))
}
