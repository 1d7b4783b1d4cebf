//! Finds the stored data of a person.

use std::collections::BTreeSet;

use aftercall_common::contract::streams::{self, header};
use async_nats::{header::NATS_MESSAGE_ID, jetstream::Message};
use bytes::Bytes;

use super::{
    person::{Owner, Person},
    traces::Traces,
};
use crate::{
    Context,
    broker::{large_bodies::BodyError, scan::Scan},
    commands::terminal,
    domain::delivery::EventType,
    ingestion::{self, body_of},
    store::content_of,
};

/// The messages of one stream about the person.
#[derive(Default)]
struct Messages {
    sequences: Vec<u64>,
    /// Names of their large bodies.
    bodies: Vec<String>,
    /// Messages whose large bodies could not be searched.
    unsearched: Vec<String>,
}

/// Finds the stored data of `person`. The ids of the found calls become known to `person`.
pub(super) async fn find(context: &Context, person: &mut Person) -> anyhow::Result<Traces> {
    let mut traces = Traces::default();
    let mut mentions = BTreeSet::new();
    if person.has_number() {
        search_documents(context, person).await?;
    }
    // A pass over webhooks and dead letters can find new ids of the person, and the next pass searches for the
    // messages with these ids. Two passes are usual. It ends, because the number of stored ids is limited.
    loop {
        let known = person.size();
        person.learn(&context.store.calls_of(person.filter()).await?);
        mentions.clear();
        let webhooks = search_stream(context, streams::WEBHOOKS, person, &mut mentions).await?;
        let dead_letters = search_stream(context, streams::DEAD_LETTERS, person, &mut mentions).await?;
        traces.bodies = [webhooks.bodies, dead_letters.bodies].concat();
        traces.unsearched = [webhooks.unsearched, dead_letters.unsearched].concat();
        (traces.webhooks, traces.dead_letters) = (webhooks.sequences, dead_letters.sequences);
        if person.size() == known {
            break;
        }
    }
    traces.bodies.sort_unstable();
    traces.bodies.dedup();
    traces.jobs = search_stream(context, streams::TRANSCRIPTS, person, &mut mentions).await?.sequences;
    traces.events = events(context, person).await?;
    traces.documents = context.store.calls_of(person.filter()).await?.len() as u64;
    traces.recordings = context.store.count_recordings(person.events()).await?;
    traces.deliveries = context.store.count_deliveries(&person.ids()).await?;
    if person.has_number() {
        // Search again with all known ids: a call that only mentions the number may belong to the person
        // because of an id that was found since.
        mentions.extend(search_documents(context, person).await?);
    }
    mentions.retain(|name| !person.knows(name));
    traces.mentions = mentions;
    Ok(traces)
}

/// Searches all stored calls, because a number can be in any field. Returns the ids of calls that only
/// mention the number.
async fn search_documents(context: &Context, person: &mut Person) -> anyhow::Result<BTreeSet<String>> {
    let (mut last, mut mentions) = (None, BTreeSet::new());
    let bar = terminal::bar(usize::try_from(context.store.count().await?)?);
    loop {
        let calls = context.store.calls_after(last).await?;
        let Some(end) = calls.last() else { break };
        last = end.get_object_id("_id").ok();
        bar.inc(calls.len() as u64);
        for call in &calls {
            if let Owner::Mentions(name) = person.check_document(call, &content_of(call)) {
                mentions.insert(name);
            }
        }
    }
    bar.finish_and_clear();
    Ok(mentions)
}

/// The sequences of the outgoing events of `person`.
pub(super) async fn events(context: &Context, person: &mut Person) -> anyhow::Result<Vec<u64>> {
    // Calls that only mention the number are found by their documents.
    let mut mentions = BTreeSet::new();
    Ok(search_stream(context, streams::CALLS, person, &mut mentions).await?.sequences)
}

/// Searches the messages of `stream`.
async fn search_stream(
    context: &Context,
    stream: &str,
    person: &mut Person,
    mentions: &mut BTreeSet<String>,
) -> anyhow::Result<Messages> {
    let mut scan = Scan::of(&context.jetstream, stream, 1).await?;
    let bar = terminal::bar(usize::try_from(scan.left())?);
    let mut found = Messages::default();
    while let Some((sequence, message)) = scan.next().await? {
        bar.inc(1);
        if message.subject.as_str() == EventType::Erased.subject() {
            continue; // It says that the call was erased, and holds nothing but ids.
        }
        let name = format!("message {sequence} of {stream}");
        let body = match body_of(&context.jetstream, &message).await {
            Ok(body) => body,
            // A large body that was deleted contains no data.
            Err(BodyError::Permanent(_)) => Bytes::new(),
            Err(BodyError::Temporary(_)) => {
                found.unsearched.push(name);
                continue;
            }
        };
        match owner(person, &as_received(&message), &body, &name) {
            Owner::Person => {
                found.sequences.push(sequence);
                found.bodies.extend(value(&message, header::BODY_OBJECT));
                person.learn_event(value(&message, NATS_MESSAGE_ID.as_ref()));
                person.learn_event(value(&message, header::DEAD_ID));
            }
            Owner::Mentions(name) => {
                mentions.insert(name);
            }
            Owner::Other => {}
        }
    }
    bar.finish_and_clear();
    Ok(found)
}

/// Decides whether `message` belongs to `person`. `name` identifies a message that is no event.
fn owner(person: &mut Person, message: &Message, body: &[u8], name: &str) -> Owner {
    match ingestion::read(message, body) {
        Ok(event) => person.check_event(&event, body),
        Err(_) => person.check_message(body, &message.subject, name),
    }
}

/// A dead letter under the subject on which it was received. Its body can then be read as an event, whose
/// ids belong to the person. Other messages stay as they are.
fn as_received(message: &Message) -> Message {
    let mut message = message.clone();
    if let Some(subject) = value(&message, header::DEAD_SUBJECT) {
        message.message.subject = subject.into();
    }
    message
}

/// The value of a header.
fn value(message: &Message, name: &str) -> Option<String> {
    Some(message.headers.as_ref()?.get(name)?.as_str().to_owned())
}
