//! Finds the stored data of a person.

use std::collections::BTreeSet;

use aftercall_common::contract::streams::{self, header};
use async_nats::{header::NATS_MESSAGE_ID, jetstream::Message};

use super::{
    person::{Owner, Person},
    traces::Traces,
};
use crate::{
    Context,
    broker::scan::Scan,
    commands::terminal,
    ingestion::{self, body_of},
    store::content_of,
};

/// Most passes over the stream of webhooks. Each pass can find new ids of the person; the next pass searches
/// for the messages with these ids.
const MAX_PASSES: usize = 4;

/// Finds the stored data of `person`, and adds the found ids of calls to `person`.
pub(super) async fn find(context: &Context, person: &mut Person) -> anyhow::Result<Traces> {
    let mut traces = Traces::default();
    let mut mentions = BTreeSet::new();
    if person.has_number() {
        search_documents(context, person).await?;
    }
    for _ in 0..MAX_PASSES {
        let known = person.size();
        person.learn(&context.store.calls_of(person.filter()).await?);
        mentions.clear();
        (traces.webhooks, traces.bodies) =
            search_stream(context, streams::WEBHOOKS, person, &mut mentions).await?;
        if person.size() == known {
            break;
        }
    }
    let (letters, bodies) = search_stream(context, streams::DEAD_LETTERS, person, &mut mentions).await?;
    traces.dead_letters = letters;
    traces.bodies.extend(bodies);
    traces.bodies.sort_unstable();
    traces.bodies.dedup();
    traces.jobs = search_stream(context, streams::TRANSCRIPTS, person, &mut mentions).await?.0;
    traces.documents = context.store.calls_of(person.filter()).await?.len() as u64;
    traces.recordings = context.store.count_recordings(person.events()).await?;
    if person.has_number() {
        // The documents are searched again: a call that only mentioned the number may by now be known as a
        // call of the person.
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

/// Searches the messages of `stream`. Returns the sequences of the messages about the person, and the names
/// of their large bodies.
async fn search_stream(
    context: &Context,
    stream: &str,
    person: &mut Person,
    mentions: &mut BTreeSet<String>,
) -> anyhow::Result<(Vec<u64>, Vec<String>)> {
    let mut scan = Scan::of(&context.jetstream, stream, 1).await?;
    let bar = terminal::bar(usize::try_from(scan.left())?);
    let (mut sequences, mut bodies) = (Vec::new(), Vec::new());
    while let Some((sequence, message)) = scan.next().await? {
        bar.inc(1);
        // A large body that was deleted contains no data.
        let body = body_of(&context.jetstream, &message).await.unwrap_or_default();
        let owner = match ingestion::read(&message, &body) {
            Ok(event) => person.check_event(&event, &body),
            Err(_) => {
                person.check_message(&body, &message.subject, &format!("message {sequence} of {stream}"))
            }
        };
        match owner {
            Owner::Person => {
                sequences.push(sequence);
                bodies.extend(value(&message, header::BODY_OBJECT));
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
    Ok((sequences, bodies))
}

/// The value of a header.
fn value(message: &Message, name: &str) -> Option<String> {
    Some(message.headers.as_ref()?.get(name)?.as_str().to_owned())
}
