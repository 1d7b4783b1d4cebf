//! Erases the data of a person: messages first, then large bodies, recordings and documents.

use aftercall_common::contract::streams::{self, WEBHOOK_BODIES};
use anyhow::Context as _;

use super::{person::Person, traces::Traces};
use crate::{Context, commands::terminal};

/// Erases `traces`. Afterwards `traces` holds the numbers of recordings and documents that were erased.
pub(super) async fn erase(context: &Context, person: &Person, traces: &mut Traces) -> anyhow::Result<()> {
    let bar = terminal::bar(traces.messages());
    for (name, sequences) in [
        (streams::WEBHOOKS, &traces.webhooks),
        (streams::TRANSCRIPTS, &traces.jobs),
        (streams::DEAD_LETTERS, &traces.dead_letters),
    ] {
        let stream = context.jetstream.get_stream(name).await.with_context(|| format!("stream {name}"))?;
        for sequence in sequences {
            // The broker overwrites deleted messages. A message that has expired meanwhile cannot be deleted.
            if let Err(error) = stream.delete_message(*sequence).await
                && stream.get_raw_message(*sequence).await.is_ok()
            {
                return Err(error).with_context(|| format!("message {sequence} of {name} was not erased"));
            }
            bar.inc(1);
        }
    }
    let bucket = context.jetstream.get_object_store(WEBHOOK_BODIES).await.context("large bodies")?;
    for body in &traces.bodies {
        bucket.delete(body).await.with_context(|| format!("large body {body} was not erased"))?;
    }
    traces.recordings = context.store.erase_recordings(person.events()).await?;
    traces.documents = context.store.erase_calls(person.filter()).await?;
    bar.finish_and_clear();
    Ok(())
}
