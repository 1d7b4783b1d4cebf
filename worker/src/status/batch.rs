//! A batch of messages as patches, one a call, and back from what became of them. Pure.

use std::collections::HashMap;

use aftercall_common::stream::{header, subject};
use async_nats::{HeaderName, header::NATS_MESSAGE_ID, jetstream::Message};
use jiff::Timestamp;

use crate::{
    call::{CallPatch, Status, failure_class},
    dead_letters::Cause,
    event::{self, Envelope, Event, Origin, ParseError, Recording},
    store::{Applied, Changed, Key},
};

/// What is kept of an event for the log.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub id: String,
    pub event_type: &'static str,
    pub status: Option<Status>,
    /// Class of the reason, for a failure.
    pub failure: Option<&'static str>,
    pub call_id: Option<String>,
    pub conversation_id: Option<String>,
    pub stored_at: Timestamp,
}

/// What to do with one message.
pub(super) enum Fate {
    /// Its change is stored.
    Applied { event: Line, applied: Applied, patch: usize },
    /// It can never work.
    Dead(Cause),
}

/// One message, parsed.
enum Parsed {
    /// Part of the patch at this position.
    Event(Line, usize),
    Dead(Cause),
}

/// A batch between pull and settlement.
#[derive(Default)]
pub(super) struct Batch {
    parsed: Vec<Parsed>,
    patches: Vec<CallPatch>,
    may_owe: Vec<bool>,
    recordings: Vec<(String, Recording)>,
}

impl Batch {
    /// A batch of messages and their bodies.
    pub(super) fn of<'a>(messages: impl Iterator<Item = (&'a Message, &'a [u8])>) -> Self {
        Self::from_parsed(messages.map(|(message, body)| parse(message, body)))
    }

    /// Joins the events that name the same call, or the same conversation and no call. Which call a
    /// conversation belongs to is for the store to decide.
    fn from_parsed(results: impl Iterator<Item = Result<Event, Cause>>) -> Self {
        let mut batch = Self::default();
        let mut positions: HashMap<Option<Key>, usize> = HashMap::new();
        let mut patches: Vec<Option<CallPatch>> = Vec::new();
        for result in results {
            let mut event = match result {
                Ok(event) => event,
                Err(cause) => {
                    batch.parsed.push(Parsed::Dead(cause));
                    continue;
                }
            };
            let line = Line::of(&event);
            batch.recordings.extend(event.recording.take().map(|recording| (event.id.clone(), recording)));
            let patch = CallPatch::from(event);
            let position = *positions.entry(Key::of(&patch)).or_insert_with(|| {
                patches.push(None);
                patches.len() - 1
            });
            patches[position] = Some(match patches[position].take() {
                Some(joined) => joined.join(patch),
                None => patch,
            });
            batch.parsed.push(Parsed::Event(line, position));
        }
        batch.patches = patches.into_iter().flatten().collect();
        // A transcript becomes due by the event that ends the conversation, or by the one that tells
        // which conversation it was.
        batch.may_owe = batch
            .patches
            .iter()
            .map(|patch| patch.transcript.is_some() || patch.conversation_id.is_some())
            .collect();
        batch
    }

    /// The patches, to be written. Positions stay valid.
    pub(super) fn take_patches(&mut self) -> Vec<CallPatch> {
        std::mem::take(&mut self.patches)
    }

    /// The recordings of the batch and their ids, to be stored before the patches that point to them.
    pub(super) fn take_recordings(&mut self) -> Vec<(String, Recording)> {
        std::mem::take(&mut self.recordings)
    }

    /// Whether the patch at `position` can have made a transcript due.
    pub(super) fn may_owe(&self, position: usize) -> bool {
        self.may_owe[position]
    }

    /// The first message that is part of the patch at `position`.
    pub(super) fn message_of(&self, position: usize) -> Option<usize> {
        self.parsed.iter().position(|parsed| matches!(parsed, Parsed::Event(_, patch) if *patch == position))
    }

    /// What to do with every message, in their order.
    pub(super) fn fates(self, changes: &[Changed]) -> impl Iterator<Item = Fate> {
        self.parsed.into_iter().map(|parsed| match parsed {
            Parsed::Dead(cause) => Fate::Dead(cause),
            Parsed::Event(event, patch) => match &changes[patch] {
                Changed::Applied(applied) => Fate::Applied { event, applied: applied.clone(), patch },
                Changed::Refused { label, detail } => Fate::Dead(Cause { label, detail: detail.clone() }),
            },
        })
    }
}

impl Line {
    fn of(event: &Event) -> Self {
        Self {
            id: event.id.clone(),
            event_type: event.event_type,
            status: event.status,
            failure: event.failure_reason.as_deref().map(failure_class),
            call_id: event.call_id.as_ref().map(|id| id.as_str().to_owned()),
            conversation_id: event.conversation_id.as_ref().map(|id| id.as_str().to_owned()),
            stored_at: event.stored_at,
        }
    }
}

/// Who sent what is on `subject`.
fn origin(subject: &str) -> Origin {
    match subject {
        subject::TWILIO_CALL_STATUS => Origin::Twilio,
        subject::RECONCILED => Origin::Reconciliation,
        _ => Origin::ElevenLabs,
    }
}

/// When the gateway took in `message`; it may have waited in a spool since.
pub(super) fn received_at(message: &Message) -> Option<Timestamp> {
    message.headers.as_ref()?.get(HeaderName::from_static(header::RECEIVED_AT))?.as_str().parse().ok()
}

pub(super) fn parse(message: &Message, body: &[u8]) -> Result<Event, Cause> {
    let undeliverable = |detail: &str| Cause { label: "not_a_stream_message", detail: detail.to_owned() };
    let info = message.info().map_err(|_error| undeliverable("it carries no stream metadata"))?;
    let stored_at = Timestamp::from_nanosecond(info.published.unix_timestamp_nanos())
        .map_err(|_error| undeliverable("its time is out of range"))?;
    let header = |name: HeaderName| {
        message.headers.as_ref().and_then(|headers| headers.get(name)).map(ToString::to_string)
    };
    let id = header(NATS_MESSAGE_ID);
    let envelope = Envelope {
        // A message put into the stream by other means than the gateway has its place for a name.
        id: id.unwrap_or_else(|| format!("{}:{}", info.stream, info.stream_sequence)),
        stored_at,
        origin: origin(&message.subject),
        signature: header(HeaderName::from_static(header::SIGNATURE)),
    };
    event::parse(&envelope, body)
        .map_err(|error: ParseError| Cause { label: error.label(), detail: error.to_string() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(n: i64, body: &Value) -> Result<Event, Cause> {
        let stored_at = Timestamp::from_second(n).unwrap();
        let envelope = Envelope { id: n.to_string(), stored_at, origin: Origin::ElevenLabs, signature: None };
        event::parse(&envelope, body.to_string().as_bytes())
            .map_err(|error| Cause { label: error.label(), detail: error.to_string() })
    }

    #[test]
    fn one_patch_a_call_and_poison_stays_alone() {
        let mut batch = Batch::from_parsed(
            [
                event(1, &json!({ "event_type": "call.ringing", "conversation_id": "v" })),
                event(2, &json!({ "event_type": "call.vanished", "call_id": "c" })),
                event(3, &json!({ "event_type": "call.answered", "call_id": "c", "conversation_id": "v" })),
                event(4, &json!({ "event_type": "call.ringing", "call_id": "other" })),
                event(5, &json!({ "event_type": "call.ended", "call_id": "c" })),
            ]
            .into_iter(),
        );
        let patches = batch.take_patches();
        assert_eq!(patches.iter().map(|patch| patch.history.len()).collect::<Vec<_>>(), [1, 2, 1]);
        assert!(batch.may_owe(0) && batch.may_owe(1) && !batch.may_owe(2));

        let applied = || Changed::Applied(Applied::default());
        let refused = Changed::Refused { label: "rejected_by_database", detail: String::new() };
        let fates: Vec<_> = batch.fates(&[applied(), applied(), refused]).collect();
        let dead: Vec<_> = fates
            .iter()
            .map(|fate| match fate {
                Fate::Applied { .. } => None,
                Fate::Dead(cause) => Some(cause.label),
            })
            .collect();
        assert_eq!(dead, [None, Some("unsupported_event"), None, Some("rejected_by_database"), None]);
    }
}
