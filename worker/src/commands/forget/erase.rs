//! Erases the data of a person: messages first, then large bodies, recordings and documents, then the outgoing
//! events of the meantime and the records of their deliveries.

use std::time::Duration;

use aftercall_common::contract::streams::{self, WEBHOOK_BODIES};
use anyhow::Context as _;
use indicatif::ProgressBar;

use super::{person::Person, search, traces::Traces};
use crate::{Context, commands::terminal};

/// Time within which the role `deliver` has published a change that it has read.
const DELIVER_TIME: Duration = Duration::from_secs(1);

/// Erases `traces`. Afterwards `traces` holds the numbers of recordings, deliveries and documents that were erased.
pub(super) async fn erase(context: &Context, person: &mut Person, traces: &mut Traces) -> anyhow::Result<()> {
    let bar = terminal::bar(traces.messages());
    for (name, sequences) in [
        (streams::WEBHOOKS, &traces.webhooks),
        (streams::TRANSCRIPTS, &traces.jobs),
        (streams::DEAD_LETTERS, &traces.dead_letters),
        (streams::CALLS, &traces.events),
    ] {
        delete(context, name, sequences, &bar).await?;
    }
    let bucket = context.jetstream.get_object_store(WEBHOOK_BODIES).await.context("large bodies")?;
    for body in &traces.bodies {
        bucket.delete(body).await.with_context(|| format!("large body {body} was not erased"))?;
    }
    traces.recordings = context.store.erase_recordings(person.events()).await?;
    traces.documents = context.store.erase_calls(person.filter()).await?;
    // The role `deliver` may have published a change meanwhile. It no longer does, because it publishes what is
    // stored.
    tokio::time::sleep(DELIVER_TIME).await;
    delete(context, streams::CALLS, &search::events(context, person).await?, &bar).await?;
    // Events were delivered meanwhile, too.
    traces.deliveries = context.store.erase_deliveries(&person.ids()).await?;
    bar.finish_and_clear();
    Ok(())
}

/// Deletes messages of a stream.
async fn delete(context: &Context, stream: &str, sequences: &[u64], bar: &ProgressBar) -> anyhow::Result<()> {
    if sequences.is_empty() {
        return Ok(());
    }
    let found = context.jetstream.get_stream(stream).await.with_context(|| format!("stream {stream}"))?;
    for sequence in sequences {
        // The broker overwrites deleted messages. A message that has expired meanwhile cannot be deleted.
        if let Err(error) = found.delete_message(*sequence).await
            && found.get_raw_message(*sequence).await.is_ok()
        {
            return Err(error).with_context(|| format!("message {sequence} of {stream} was not erased"));
        }
        bar.inc(1);
    }
    Ok(())
}
