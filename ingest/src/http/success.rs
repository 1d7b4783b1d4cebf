//! The answers to requests that are served.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION},
};

use super::{
    agent_calls::Placed,
    body::{Answer, in_memory},
};
use crate::{
    admission::webhook_id::WebhookId,
    storage::{Accepted, publisher::Stored},
};

/// The result of a request that was served.
pub(crate) enum Success {
    /// A webhook is stored.
    Accepted { id: WebhookId, accepted: Accepted },
    /// The JSON with which a worker reported the status of a call.
    Status(Bytes),
    /// A call was placed.
    Placed(Placed),
    /// A list of calls, one call, its transcript or its recording.
    Read(Answer),
    /// The `OpenAPI` description of the public API.
    Description { is_head: bool },
    /// The methods of a route, as the answer to OPTIONS.
    Options { allow: &'static str },
}

impl Success {
    /// Whether the request was authenticated. Anybody may read the description and the methods.
    pub fn is_authenticated(&self) -> bool {
        match self {
            Self::Accepted { .. } | Self::Status(_) | Self::Placed(_) | Self::Read(_) => true,
            Self::Description { .. } | Self::Options { .. } => false,
        }
    }

    /// Builds the response.
    pub fn answer(self) -> Answer {
        match self {
            Self::Accepted { id, accepted: Accepted::Stream(Stored { sequence, duplicate }) } => json(
                StatusCode::OK,
                Bytes::from(format!(
                    r#"{{"accepted":true,"id":"{id}","sequence":{sequence},"duplicate":{duplicate}}}"#
                )),
            ),
            // A webhook in the spool has no sequence number yet.
            Self::Accepted { id, accepted: Accepted::Spool { duplicate, .. } } => json(
                StatusCode::OK,
                Bytes::from(format!(
                    r#"{{"accepted":true,"id":"{id}","sequence":null,"duplicate":{duplicate},"spooled":true}}"#
                )),
            ),
            Self::Status(body) => json(StatusCode::OK, body),
            Self::Placed(placed) => placed_call(placed),
            Self::Read(answer) => answer,
            Self::Description { is_head } => description(is_head),
            Self::Options { allow } => {
                let mut answer = Answer::default();
                *answer.status_mut() = StatusCode::NO_CONTENT;
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
                answer
            }
        }
    }
}

/// The public API as `OpenAPI` 3.1. The crate `deploy/openapi` generates the file from the code.
const DESCRIPTION: &[u8] = include_bytes!("../../../deploy/openapi.json");

const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

fn placed_call(placed: Placed) -> Answer {
    let mut answer = json(StatusCode::CREATED, placed.body);
    let location = placed.id.as_ref().and_then(|id| {
        let path = [b"/api/agent-calls/", id.as_bytes()].concat();
        HeaderValue::from_bytes(&path).ok()
    });
    answer.headers_mut().extend(location.map(|location| (LOCATION, location)));
    if placed.is_replayed {
        answer.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    answer
}

fn description(is_head: bool) -> Answer {
    let mut answer = json(StatusCode::OK, Bytes::from_static(if is_head { b"" } else { DESCRIPTION }));
    answer.headers_mut().insert(CONTENT_LENGTH, DESCRIPTION.len().into());
    answer
}

fn json(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = in_memory(Response::new(Full::new(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
