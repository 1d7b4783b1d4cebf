//! The answers to requests that are served.

use aftercall_common::http::Reply;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
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
    Answer(Bytes),
    /// The JSON with which a worker confirmed the placement of a call.
    Placed(Bytes),
}

impl Success {
    /// The answer.
    pub fn reply(self) -> Reply {
        let (status, body) = match self {
            Self::Accepted { id, accepted: Accepted::Stream(Stored { sequence, duplicate }) } => (
                StatusCode::OK,
                Bytes::from(format!(
                    r#"{{"accepted":true,"id":"{id}","sequence":{sequence},"duplicate":{duplicate}}}"#
                )),
            ),
            // A webhook in the spool has no sequence number yet.
            Self::Accepted { id, accepted: Accepted::Spool { duplicate } } => (
                StatusCode::OK,
                Bytes::from(format!(
                    r#"{{"accepted":true,"id":"{id}","sequence":null,"duplicate":{duplicate},"spooled":true}}"#
                )),
            ),
            Self::Placed(body) => (StatusCode::CREATED, body),
            Self::Answer(body) => (StatusCode::OK, body),
        };
        let mut reply = Response::new(Full::new(body));
        *reply.status_mut() = status;
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        reply
    }
}
