//! Applies a chunk of events to the database.

use std::{collections::HashSet, time::Duration};

use anyhow::bail;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::output::Counts;
use crate::{
    Context,
    broker::transcript_jobs::{JobKind, enqueue_job},
    domain::{
        call::{Attachment, CallPatch},
        event::Event,
    },
    ingestion::write_once,
    ports::Ports as _,
    retry::Pauses,
    store::{Key, PatchResult, StoreError},
};

/// Delays between attempts to write the calls while the database does not answer, and their total.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(100);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(2);
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);

/// Prints the changes that `events` would make.
pub(super) async fn preview(
    context: &Context,
    events: Vec<Event>,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    counts.webhooks += events.len();
    for patch in &join(events).0 {
        counts.add_preview(patch, &context.store.preview(patch).await?)?;
    }
    Ok(())
}

/// Applies `events`, and publishes the transcript jobs that follow from them.
///
/// # Errors
/// The database does not answer for [`RETRY_TIMEOUT`], the broker does not store a job, or the process
/// stops. The events can be applied again.
pub(super) async fn apply(
    context: &Context,
    events: Vec<Event>,
    counts: &mut Counts,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    counts.webhooks += events.len();
    let recorded = events.iter().filter(|event| event.has_audio || event.recording.is_some());
    let recorded: HashSet<_> = recorded.filter_map(|event| event.conversation_id.clone()).collect();
    let (patches, files) = join(events);
    let mut pauses = Pauses::endless(FIRST_RETRY_DELAY, MAX_RETRY_DELAY);
    let started = Instant::now();
    let changes = loop {
        match write_once(context, &patches, &files).await {
            Ok(changes) => break changes,
            Err(error @ (StoreError::Refused(_) | StoreError::Standalone)) => return Err(error.into()),
            Err(error) if started.elapsed() >= RETRY_TIMEOUT => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "calls were not written to MongoDB; trying again"),
        }
        if !pauses.sleep(stop).await {
            bail!("interrupted");
        }
    };
    for conversation in &recorded {
        let enqueued = context.enqueue_recording(conversation, None).await;
        enqueued.map_err(|error| anyhow::anyhow!("a recording job was not stored: {error}"))?;
    }
    for change in &changes {
        let applied = match change {
            PatchResult::Applied(applied) => applied,
            PatchResult::Refused { reason, detail } => {
                counts.refused += 1;
                tracing::error!(reason = reason.label(), detail, "MongoDB refuses the changes of a call");
                continue;
            }
        };
        for conversation in &applied.transcripts_due {
            // The broker may know the job of the event, although the transcript is lost.
            let enqueued =
                enqueue_job(&context.jetstream, JobKind::Transcript, conversation, None, true).await;
            enqueued.map_err(|error| anyhow::anyhow!("a transcript job was not stored: {error}"))?;
        }
    }
    Ok(())
}

/// Joins the events to about one patch per call, as workers do. `is_replay` applies them to a call that has them already,
/// because an earlier version may have read fewer fields. Returns the patches and the files that the patches refer to.
fn join(events: Vec<Event>) -> (Vec<CallPatch>, Vec<(String, Attachment)>) {
    let mut patches: Vec<(Option<Key>, CallPatch)> = Vec::new();
    let mut files = Vec::new();
    for event in events {
        let id = event.id.clone();
        let (mut patch, file) = CallPatch::split(event);
        patch.is_replay = true;
        files.extend(file.map(|file| (id, file)));
        let key = Key::of(&patch);
        let may_join = |(other, joined): &&mut (_, CallPatch)| *other == key && joined.is_joinable(&patch);
        match patches.iter_mut().find(may_join) {
            Some((_, joined)) => *joined = joined.clone().join(patch),
            None => patches.push((key, patch)),
        }
    }
    (patches.into_iter().map(|(_, patch)| patch).collect(), files)
}
