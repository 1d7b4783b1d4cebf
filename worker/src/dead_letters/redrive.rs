//! Sending a letter to where it came from once more, as it is or with its body mended.
//!
//! Sent first, removed after: a crash in between leaves a letter that is sent once more under the same
//! id, which changes nothing.

use aftercall_common::contract::streams::header;
use async_nats::{
    HeaderMap,
    header::NATS_MESSAGE_ID,
    jetstream::{self, stream::Stream},
};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{message::Letter, origin::Unsendable};

/// The verdict on the signature of a body that an operator has changed.
const EDITED: &str = "edited";

/// Why a letter is not where it came from.
#[derive(Debug, thiserror::Error)]
pub enum NotSent {
    /// It must not be sent. It is still here.
    #[error("number {0} is not sent again: {1}")]
    Unsendable(u64, Unsendable),
    /// The broker did not take it. It is still here.
    #[error("number {0} was not taken: {1}")]
    NotTaken(u64, String),
    /// It was sent, and is still here.
    #[error("number {0} was sent, not removed: {1}")]
    NotRemoved(u64, String),
}

/// A letter that was sent again.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its id there.
    pub id: String,
    /// The stream it is in.
    pub stream: String,
    /// Its sequence there.
    pub sequence: u64,
}

/// Sends `letter`, with `body` in place of its own if there is one, and removes it from `graves`.
pub(crate) async fn send(
    context: &jetstream::Context,
    graves: &Stream,
    letter: Letter,
    body: Option<Bytes>,
) -> Result<Sent, NotSent> {
    let number = letter.0.sequence;
    let (origin, mut headers) = letter.again().map_err(|why| NotSent::Unsendable(number, why))?;
    if let Some(body) = &body {
        mark_edited(&mut headers, body);
    }
    let id = headers.get(NATS_MESSAGE_ID).map(ToString::to_string).unwrap_or_default();
    let taken = async {
        let body = body.unwrap_or(letter.0.payload);
        Ok::<_, async_nats::Error>(context.publish_with_headers(origin.subject, headers, body).await?.await?)
    };
    let ack = taken.await.map_err(|error| NotSent::NotTaken(number, error.to_string()))?;
    let removed = graves.delete_message(number).await;
    removed.map_err(|error| NotSent::NotRemoved(number, error.to_string()))?;
    Ok(Sent { id, stream: ack.stream, sequence: ack.sequence })
}

/// Another body is another message: it has an id of its own, and nobody has signed it.
fn mark_edited(headers: &mut HeaderMap, body: &Bytes) {
    let id = headers.get(NATS_MESSAGE_ID).map(ToString::to_string).unwrap_or_default();
    let digest = hex::encode(Sha256::digest(body));
    headers.insert(NATS_MESSAGE_ID, format!("{id}:edited:{}", &digest[..16]).as_str());
    let kept = headers.iter().filter(|(name, _)| {
        let name: &str = name.as_ref();
        let signatures = [header::ELEVENLABS_SIGNATURE, header::TWILIO_SIGNATURE, header::SIGNATURE];
        !signatures.iter().any(|signature| signature.eq_ignore_ascii_case(name))
    });
    let mut kept: HeaderMap = kept
        .flat_map(|(name, values)| values.iter().map(move |value| (name.clone(), value.clone())))
        .collect();
    kept.insert(header::SIGNATURE, EDITED);
    *headers = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_body_is_another_message_that_nobody_signed() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (NATS_MESSAGE_ID.as_ref(), "replayed:WEBHOOKS:7"),
            (header::SIGNATURE, "verified"),
            (header::ELEVENLABS_SIGNATURE, "t=1,v0=ab"),
            (header::SOURCE_IP, "192.0.2.1"),
        ] {
            headers.insert(name, value);
        }
        let edited = |body: &'static str| {
            let mut headers = headers.clone();
            mark_edited(&mut headers, &Bytes::from_static(body.as_bytes()));
            headers
        };
        let (one, other) = (edited("{}"), edited("[]"));
        let text = |headers: &HeaderMap, name: &str| headers.get(name).map(ToString::to_string);
        assert_eq!(text(&one, header::SIGNATURE).as_deref(), Some("edited"));
        assert_eq!(text(&one, header::SOURCE_IP).as_deref(), Some("192.0.2.1"));
        assert_eq!(text(&one, header::ELEVENLABS_SIGNATURE), None);
        assert_ne!(text(&one, NATS_MESSAGE_ID.as_ref()), text(&other, NATS_MESSAGE_ID.as_ref()));
    }
}
