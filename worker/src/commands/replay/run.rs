//! Reads the selected webhooks from the stream and applies them in chunks.

use std::time::Duration;

use aftercall_common::{
    contract::streams::{self, WEBHOOK_BODIES},
    process::shutdown,
};
use anyhow::{Context as _, bail, ensure};
use async_nats::jetstream::Message;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    apply::{apply, preview},
    options::Options,
    output::Counts,
};
use crate::{
    Context,
    broker::{large_bodies::BodyError, scan::Scan},
    commands::{print_line, terminal},
    domain::event::Event,
    ingestion::{Weight, body_of, read},
};

/// Most webhooks of a chunk.
const MAX_CHUNK: usize = 200;
/// A chunk is applied when its events use this much memory, in bytes.
const MAX_MEMORY: usize = 64 * 1024 * 1024;

/// A replay in progress.
struct Replay<'a> {
    context: &'a Context,
    options: &'a Options,
    stop: CancellationToken,
    counts: Counts,
    chunk: Vec<Event>,
    /// Memory of the events in `chunk`, in bytes.
    memory: usize,
    /// Sequence from which a later run can continue: that of the first webhook that is not applied.
    from: u64,
    /// Sequence of the first webhook whose large body was not available.
    left_out: Option<u64>,
    /// Time before which the rate limit allows no further chunk.
    due: Instant,
}

/// Applies the webhooks that `options` select.
///
/// # Errors
/// NATS or MongoDB does not answer, or the process stops. The text says how to continue.
pub async fn run(context: &Context, options: &Options) -> anyhow::Result<()> {
    if let (Some(since), Some(until)) = (options.since, options.until) {
        ensure!(since < until, "--since must be before --until");
    }
    let stop = shutdown::on_signal()?;
    let mut scan = Scan::of(&context.jetstream, streams::WEBHOOKS, options.from).await?;
    let bar = terminal::bar(usize::try_from(scan.left())?);
    let mut replay = Replay {
        context,
        options,
        stop: stop.clone(),
        counts: Counts::default(),
        chunk: Vec::new(),
        memory: 0,
        from: options.from,
        left_out: None,
        due: Instant::now(),
    };
    loop {
        let next = stop.run_until_cancelled(scan.next()).await.transpose();
        let next = next.with_context(|| replay.hint())?.flatten();
        if stop.is_cancelled() {
            bail!("interrupted; {}", replay.hint());
        }
        let Some((sequence, message)) = next else { break };
        bar.inc(1);
        if stop.run_until_cancelled(replay.add(sequence, &message)).await.is_none() {
            continue;
        }
        if replay.chunk.len() >= MAX_CHUNK || replay.memory >= MAX_MEMORY {
            let webhooks = u32::try_from(replay.chunk.len())?;
            let time = Duration::from_secs(1).mul_f64(f64::from(webhooks) / f64::from(options.rate));
            // A slow database earns no faster chunks afterwards.
            replay.due = replay.due.max(Instant::now()) + time;
            replay.apply_chunk().await?;
            replay.from = sequence + 1;
            stop.run_until_cancelled(tokio::time::sleep_until(replay.due)).await;
        }
    }
    replay.apply_chunk().await?;
    bar.finish_and_clear();
    print_line(replay.counts.summary(options.dry_run))?;
    let Counts { unavailable, refused, .. } = replay.counts;
    if refused > 0 {
        tracing::error!(refused, "MongoDB refused changes, as said above");
    }
    ensure!(
        unavailable == 0,
        "{unavailable} webhooks were left out: {WEBHOOK_BODIES} did not return their bodies; {}",
        replay.hint()
    );
    ensure!(refused == 0, "MongoDB refused {refused} changes of calls");
    Ok(())
}

impl Replay<'_> {
    /// How to continue. Webhooks that were left out are tried again.
    fn hint(&self) -> String {
        let from = self.left_out.map_or(self.from, |left_out| left_out.min(self.from));
        format!("continue with --from {from}")
    }

    /// Adds the event of `message` to the chunk, if it is selected.
    async fn add(&mut self, sequence: u64, message: &Message) {
        let body = match body_of(&self.context.jetstream, message).await {
            Ok(body) => body,
            Err(BodyError::Permanent(_)) => {
                self.counts.unreadable += 1;
                return;
            }
            Err(BodyError::Temporary(_)) => {
                self.counts.unavailable += 1;
                self.left_out.get_or_insert(sequence);
                return;
            }
        };
        let weight = Weight::of(&body);
        match read(message, &body) {
            Ok(event) if self.options.matches(&event) => {
                self.memory += weight.memory;
                self.chunk.push(event);
            }
            Ok(_) => {}
            Err(cause) if cause.foreign_family().is_some() => {} // The message does not concern a call.
            Err(_) => self.counts.unreadable += 1,
        }
    }

    /// Applies the chunk, or prints the changes that it would make.
    async fn apply_chunk(&mut self) -> anyhow::Result<()> {
        self.memory = 0;
        let events = std::mem::take(&mut self.chunk);
        let applied = if self.options.dry_run {
            preview(self.context, events, &mut self.counts).await
        } else {
            apply(self.context, events, &mut self.counts, &self.stop).await
        };
        applied.with_context(|| self.hint())
    }
}
