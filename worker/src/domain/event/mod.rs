//! Parses the body of a webhook of any provider into an [`Event`]. Pure: no clock, no socket.
//!
//! A body that is no event gives a [`ParseError`], which has the reason of the dead letter. The parsers
//! never guess: an event changes a call only if it names the call.

mod call_event;
mod call_status;
mod connection;
mod elevenlabs;
mod envelope;
mod error;
mod event_type;
mod field_names;
mod foreign;
mod identifier;
mod kind;
mod parties;
mod recording;
mod shape;
mod spelling;
mod time;
mod twilio;

pub use aftercall_common::contract::provider::Provider;
use aftercall_common::json;

use self::shape::Shape;
pub use self::{
    call_event::{Event, Recording},
    elevenlabs::{
        ConversationFacts, ConversationTimes, PLACEMENT_VARIABLE, channel, channel_of_source,
        conversation_facts, given_reason, never_connected,
    },
    envelope::{Envelope, Origin},
    error::ParseError,
    event_type::EventType,
    field_names::FieldNames,
    foreign::FOREIGN_FAMILIES,
    identifier::{CallId, ConversationId, IdentifierError, PlacementId, lenient_id},
    kind::TRANSCRIPTION,
    parties::{Parties, one_spelling},
    time::{FIRST_CONVERSATION, is_plausible, read as read_time},
};

/// Parses a webhook in the form of its origin.
///
/// The route of ElevenLabs takes two forms. The flat form names its event in `event_type`. The vendor's own
/// envelope names it in `type` and has everything else under `data`.
///
/// # Errors
/// The body is no event, or an event of another product: see [`ParseError`].
pub fn parse(envelope: &Envelope, body: &[u8]) -> Result<Event, ParseError> {
    match envelope.origin {
        Origin::Webhook(Provider::Twilio) => twilio::event(envelope, body),
        Origin::Webhook(Provider::ElevenLabs) | Origin::Reconciliation => elevenlabs_event(envelope, body),
    }
}

/// Whether a body of this origin is a form. Any other body has to be JSON.
pub fn is_form(origin: Origin, body: &[u8]) -> bool {
    match origin {
        Origin::Webhook(Provider::Twilio) => !body.trim_ascii_start().starts_with(b"{"),
        Origin::Webhook(Provider::ElevenLabs) | Origin::Reconciliation => false,
    }
}

fn elevenlabs_event(envelope: &Envelope, body: &[u8]) -> Result<Event, ParseError> {
    let mut raw = json::read_object(body)?;
    match shape::of(&mut raw)? {
        Shape::Envelope(kind, location) => elevenlabs::event(envelope, kind, location, raw, body.len()),
        Shape::Flat(event_type, location) => call_status::event(envelope, event_type, location, raw),
    }
}

#[cfg(test)]
mod tests;
