//! Redrives a dead letter: sends it to its origin again, with its own body or with a corrected one.
//!
//! The message is sent first, then the dead letter is removed. Its id follows from the dead letter. So after a crash between
//! the two, and of several people who send a dead letter at the same time, also edited, the broker stores one message.

use aftercall_common::contract::{provider::Provider, streams::header};
use async_nats::{
    HeaderMap,
    header::NATS_MESSAGE_ID,
    jetstream::{self, stream::Stream},
};
use bytes::Bytes;

use super::{message::DeadLetter, origin::NotRedrivable};

/// Value of the header `Aftercall-Signature` for a body that an operator has changed.
const EDITED: &str = "edited";

/// Why a redrive failed.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    /// The dead letter must not be sent again. It was not removed.
    #[error("dead letter {0} is not sent again: {1}")]
    NotRedrivable(u64, NotRedrivable),
    /// The dead letter was sent with another body shortly before, perhaps by somebody else at the same time.
    #[error("dead letter {0} was not sent: it was sent with another text shortly before")]
    SentBefore(u64),
    /// The broker has not confirmed the message, so it may be stored or not. The dead letter was not removed. It can be sent
    /// again, because its message is stored once.
    #[error("dead letter {0} may not have been sent again: the broker has not confirmed it: {1}")]
    NotConfirmed(u64, String),
    /// The message was sent, and the dead letter could not be removed.
    #[error("dead letter {0} was sent again, but not removed: {1}")]
    NotRemoved(u64, String),
}

/// A message that was sent again.
#[derive(Clone, Debug)]
pub struct Redriven {
    /// The id of the new message.
    pub id: String,
    /// The stream of the new message.
    pub stream: &'static str,
    /// The sequence in this stream.
    pub sequence: u64,
}

/// Sends `dead_letter` to its origin, with another `body` if one is given, and removes it from the stream
/// `dead_letters`.
pub(crate) async fn redrive(
    context: &jetstream::Context,
    dead_letters: &Stream,
    dead_letter: DeadLetter,
    body: Option<Bytes>,
) -> Result<Redriven, RedriveError> {
    let number = dead_letter.0.sequence;
    let (origin, mut headers) =
        dead_letter.redriven().map_err(|why| RedriveError::NotRedrivable(number, why))?;
    if body.is_some() {
        mark_edited(&mut headers);
    }
    let id = headers.get(NATS_MESSAGE_ID).map(ToString::to_string).unwrap_or_default();
    let body = body.unwrap_or(dead_letter.0.payload);
    let publishing = async {
        let publish = context.publish_with_headers(origin.subject, headers, body.clone());
        Ok::<_, async_nats::Error>(publish.await?.await?)
    };
    let unconfirmed = |error: async_nats::Error| RedriveError::NotConfirmed(number, error.to_string());
    let ack = publishing.await.map_err(unconfirmed)?;
    if ack.duplicate {
        // An earlier attempt may have stored this body although its answer got lost. Then only the removal is left.
        let sent = async {
            let stream = context.get_stream_no_info(origin.stream).await?;
            Ok::<_, async_nats::Error>(stream.get_raw_message(ack.sequence).await?.payload)
        };
        if sent.await.map_err(unconfirmed)? != body {
            return Err(RedriveError::SentBefore(number));
        }
    }
    let redriven = Redriven { id, stream: origin.stream, sequence: ack.sequence };
    let Err(error) = dead_letters.delete_message(number).await else { return Ok(redriven) };
    // Somebody else may have sent it again or deleted it meanwhile.
    match DeadLetter::at(dead_letters, number).await {
        Ok(None) => Ok(redriven),
        _ => Err(RedriveError::NotRemoved(number, error.to_string())),
    }
}

/// Removes the signature of the provider, which does not match a changed body.
fn mark_edited(headers: &mut HeaderMap) {
    let kept = headers.iter().filter(|(name, _)| {
        let name: &str = name.as_ref();
        let of_providers = Provider::ALL.iter().map(|provider| provider.signature_header());
        let mut signatures = of_providers.chain([header::SIGNATURE]);
        !signatures.any(|signature| signature.eq_ignore_ascii_case(name))
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
    fn an_edited_body_keeps_its_id_and_loses_its_signature() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (NATS_MESSAGE_ID.as_ref(), "replayed:WEBHOOKS:7:1"),
            (header::SIGNATURE, "verified"),
            (header::ELEVENLABS_SIGNATURE, "t=1,v0=ab"),
            (header::SOURCE_IP, "192.0.2.1"),
        ] {
            headers.insert(name, value);
        }
        mark_edited(&mut headers);
        let text = |headers: &HeaderMap, name: &str| headers.get(name).map(ToString::to_string);
        assert_eq!(text(&headers, header::SIGNATURE).as_deref(), Some("edited"));
        assert_eq!(text(&headers, header::SOURCE_IP).as_deref(), Some("192.0.2.1"));
        assert_eq!(text(&headers, header::ELEVENLABS_SIGNATURE), None);
        assert_eq!(text(&headers, NATS_MESSAGE_ID.as_ref()).as_deref(), Some("replayed:WEBHOOKS:7:1"));
    }
}
