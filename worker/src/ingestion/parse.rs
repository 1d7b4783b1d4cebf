//! Reads the event in the body of a message, within bounds.
//!
//! Invariant: a body is measured before it is parsed. Parsed JSON takes a multiple of its bytes, so a body of
//! many small values would take more memory than a worker has.

use aftercall_common::{
    contract::form_limits,
    json::{
        BYTE_ORDER_MARK,
        measure::{LIMITS, measure},
    },
    process::blocking,
};
use async_nats::jetstream::{self, Message};
use bytes::Bytes;
use jiff::Timestamp;

use super::weight::Weight;
use crate::{
    broker::{
        large_bodies::{self, BodyError},
        message::{self, StreamMessage},
    },
    domain::{
        cause::Cause,
        event::{self, Envelope, Event, Origin, ParseError},
        reason::Reason,
    },
    ports::Ports,
};

/// The body of a stored webhook, from the message or from the object store.
///
/// # Errors
/// The body is in the object store, and is not available: now, or ever.
pub async fn body_of(context: &jetstream::Context, message: &Message) -> Result<Bytes, BodyError> {
    let Some(object) = message.object() else { return Ok(message.payload.clone()) };
    Box::pin(large_bodies::fetch(context, object)).await
}

/// The event of a stored webhook with this `body`.
///
/// # Errors
/// The message cannot be processed, for this cause.
pub fn read(message: &impl StreamMessage, body: &[u8]) -> Result<Event, Cause> {
    parse(&message.envelope()?, body)
}

/// Checks whether a webhook of `subject` with this `body` could be processed.
///
/// # Errors
/// It would become a dead letter, for this cause.
pub fn check(subject: &str, body: &[u8]) -> Result<(), Cause> {
    let detail = "no provider's webhooks are published to its subject".to_owned();
    let origin = message::origin(subject).ok_or(Cause { reason: Reason::UnknownSubject, detail })?;
    parse(&Envelope::new(String::new(), Timestamp::UNIX_EPOCH, origin), body).map(drop)
}

fn parse(envelope: &Envelope, body: &[u8]) -> Result<Event, Cause> {
    check_size(envelope.origin, body)?;
    event::parse(envelope, body)
        .map_err(|error: ParseError| Cause { reason: error.reason(), detail: error.to_string() })
}

/// Refuses a body that is too complex to be parsed.
fn check_size(origin: Origin, body: &[u8]) -> Result<(), Cause> {
    let too_complex = |detail| Err(Cause { reason: Reason::TooComplex, detail });
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    if !event::is_form(origin, body) {
        return measure([body], LIMITS).or_else(|error| too_complex(error.to_string()));
    }
    if body.len() > form_limits::MAX_BYTES {
        return too_complex(format!("the form is larger than {} bytes", form_limits::MAX_BYTES));
    }
    let parameters = body.split(|byte| *byte == b'&').filter(|parameter| !parameter.is_empty());
    if parameters.count() > form_limits::MAX_PARAMETERS {
        return too_complex(format!("the form has more than {} parameters", form_limits::MAX_PARAMETERS));
    }
    Ok(())
}

/// The event of a message, or the cause if it has no event, and the weight of the message. The error says why
/// the body is not available now.
pub(super) type Opened = Result<(Result<Event, Cause>, Weight), String>;

/// Fetches the body of `message` if it is in the object store, and parses it. A heavy body is parsed on a
/// thread of its own, so that other messages are not delayed.
///
/// # Errors
/// The body is temporarily not available. The error is the reason.
pub(super) async fn open<P: Ports>(ports: &P, message: &P::Message) -> Opened {
    let body = match message.object() {
        None => message.payload(),
        Some(object) => match ports.fetch_body(object).await {
            Ok(body) => body,
            Err(BodyError::Permanent(cause)) => return Ok((Err(cause), Weight::default())),
            Err(BodyError::Temporary(why)) => return Err(why),
        },
    };
    let (weight, envelope) = (Weight::of(&body), message.envelope());
    let parse = move || parse(&envelope?, &body);
    let read = if weight.is_heavy() { blocking::run(parse).await } else { parse() };
    Ok((read, weight))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Provider;

    #[test]
    fn a_too_complex_body_is_refused_before_it_is_parsed() {
        use Origin::Reconciliation;
        const ELEVENLABS: Origin = Origin::Webhook(Provider::ElevenLabs);
        const TWILIO: Origin = Origin::Webhook(Provider::Twilio);
        let json = |inside: &str| format!(r#"{{"event_type":"call.ended","call_id":"c","a":{inside}}}"#);
        let arrays = |count: usize| json(&format!("[{}0]", "[],".repeat(count)));
        let nested = |depth: usize| json(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
        let form = |parameters: usize| format!("CallSid=c{}", "&a=b".repeat(parameters - 1));
        #[rustfmt::skip]
        let table = [
            (ELEVENLABS,     arrays(240_000),                            true),
            (ELEVENLABS,     arrays(260_000),                            false),
            (Reconciliation, arrays(260_000),                            false),
            (TWILIO,         arrays(260_000),                            false),
            (ELEVENLABS,     nested(900),                                true),
            (ELEVENLABS,     nested(1100),                               false),
            (ELEVENLABS,     json(&format!("\"{}\"", "[".repeat(1_000_000))), true),
            (TWILIO,         form(300),                                  true),
            (TWILIO,         form(301),                                  false),
            (TWILIO,         format!("CallSid=c{}", "&".repeat(400)),    true), // Empty parameters.
            (TWILIO,         format!("\u{feff}{}", json(&format!("\"{}\"", "&".repeat(400)))), true), // JSON after a byte order mark.
            (TWILIO,         format!("\u{feff}{}", arrays(260_000)),     false),
            (TWILIO,         format!("CallSid={}", "x".repeat(65_000)),  true),
            (TWILIO,         format!("CallSid={}", "x".repeat(66_000)),  false),
        ];
        for (origin, body, fits) in table {
            let found = check_size(origin, body.as_bytes());
            assert_eq!(found.is_ok(), fits, "{origin:?} {body:.60}");
            assert!(found.is_ok() || found.is_err_and(|cause| cause.reason == Reason::TooComplex));
        }
    }
}
