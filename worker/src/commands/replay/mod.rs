//! `aftercall-worker replay`: applies stored webhooks once more.
//!
//! Over a database that missed nothing this changes nothing: the state of a call is a join. Every step
//! may be repeated, so a run that was interrupted goes on with `--from`.

use std::time::Duration;

use aftercall_common::{contract::streams, process::shutdown};
use anyhow::{Context as _, bail, ensure};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{print_line, terminal};
use crate::{
    Context,
    broker::scan::Scan,
    domain::{
        call::{Attachment, CallPatch},
        event::{CallId, ConversationId, Event},
    },
    ingestion::{Weight, body_of, read},
    retry::Pauses,
    roles::transcripts,
    store::{self, Changed, Key, Preview},
};

/// Webhooks applied at a time, and the memory that they may take before.
const CHUNK: usize = 200;
const MAX_MEMORY: usize = 64 * 1024 * 1024;
/// Pauses between tries while the database is away, and how long that may take.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
const PATIENCE: Duration = Duration::from_secs(30);

/// Which webhooks, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Only those stored since: RFC 3339, or how long ago
    #[arg(long, value_name = "TIME", value_parser = terminal::moment)]
    since: Option<Timestamp>,
    /// Only those stored until then
    #[arg(long, value_name = "TIME", value_parser = terminal::moment)]
    until: Option<Timestamp>,
    /// Only events of this type
    #[arg(long)]
    event_type: Option<String>,
    /// Only events that name this call, or this conversation
    #[arg(long)]
    call_id: Option<String>,
    /// Go on at this sequence of the stream, as an interrupted run says
    #[arg(long, value_name = "SEQUENCE", default_value_t = 1)]
    from: u64,
    /// Print which documents would change and how, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Webhooks per second, lest live ones wait
    #[arg(long, value_name = "R", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
}

impl Options {
    fn wants(&self, event: &Event) -> bool {
        let names = |wanted: &String| {
            let call = event.call_id.as_ref().is_some_and(|id| id.as_str() == wanted);
            call || event.conversation_id.as_ref().is_some_and(|id| id.as_str() == wanted)
        };
        self.event_type.as_deref().is_none_or(|wanted| wanted == event.event_type)
            && self.call_id.as_ref().is_none_or(names)
    }
}

/// What was done.
#[derive(Debug, Default)]
struct Done {
    webhooks: usize,
    unreadable: usize,
    created: usize,
    changed: usize,
    merged: usize,
}

/// Does what `options` say.
pub async fn run(context: &Context, options: &Options) -> anyhow::Result<()> {
    if let (Some(since), Some(until)) = (options.since, options.until) {
        ensure!(since < until, "--since must be before --until");
    }
    let stop = shutdown::on_signal()?;
    let mut scan = Scan::of(&context.jetstream, streams::WEBHOOKS, options.from).await?;
    let bar = terminal::bar(usize::try_from(scan.left())?);
    let (mut done, mut chunk, mut memory, mut from) = (Done::default(), Vec::new(), 0, options.from);
    let mut due = Instant::now();
    loop {
        let next = stop.run_until_cancelled(scan.next()).await.transpose()?.flatten();
        if stop.is_cancelled() {
            bail!("interrupted; go on with --from {from}");
        }
        let ended = next.is_none();
        if let Some((sequence, message)) = next {
            bar.inc(1);
            let body = body_of(&context.jetstream, &message).await;
            let weight = body.as_ref().map_or_else(|_| Weight::default(), |body| Weight::of(body));
            match body.and_then(|body| read(&message, &body)) {
                Ok(event) if options.until.is_some_and(|until| event.stored_at > until) => {}
                Ok(event) if options.since.is_some_and(|since| event.stored_at < since) => {}
                Ok(event) if options.wants(&event) => {
                    memory += weight.memory;
                    chunk.push(event);
                }
                Ok(_) => {}
                Err(cause) if cause.foreign_family().is_some() => {}
                // It is among the dead letters.
                Err(_) => done.unreadable += 1,
            }
            if chunk.len() < CHUNK && memory < MAX_MEMORY {
                continue;
            }
            let webhooks = u32::try_from(chunk.len())?;
            due += Duration::from_secs(1).mul_f64(f64::from(webhooks) / f64::from(options.rate));
            memory = 0;
            let applied = apply(context, options, std::mem::take(&mut chunk), &mut done, &stop).await;
            applied.with_context(|| format!("go on with --from {from}"))?;
            from = sequence + 1;
            tokio::time::sleep_until(due).await;
        }
        if ended {
            let applied = apply(context, options, chunk, &mut done, &stop).await;
            applied.with_context(|| format!("go on with --from {from}"))?;
            break;
        }
    }
    bar.finish_and_clear();
    let Done { webhooks, unreadable, created, changed, merged } = done;
    print_line(if options.dry_run {
        format!(
            "{webhooks} webhooks would be applied: {created} calls created, {changed} changed, {merged} merged; {unreadable} unreadable"
        )
    } else {
        format!("{webhooks} webhooks applied, {unreadable} unreadable")
    })
}

async fn apply(
    context: &Context,
    options: &Options,
    events: Vec<Event>,
    done: &mut Done,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    done.webhooks += events.len();
    let (patches, files) = join(events);
    if !options.dry_run {
        for (id, file) in &files {
            store::Calls::save_file(&context.store, id, file).await?;
        }
    }
    if options.dry_run {
        for patch in &patches {
            show(patch, &context.store.preview(patch).await?, done)?;
        }
        return Ok(());
    }
    let mut pauses = Pauses::endless(RETRY.0, RETRY.1);
    let begun = Instant::now();
    let changes = loop {
        match store::apply(&context.store, &patches).await {
            Ok(changes) => break changes,
            Err(error) if begun.elapsed() >= PATIENCE => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "calls not written; trying again"),
        }
        if !pauses.sleep(stop).await {
            bail!("interrupted");
        }
    };
    for change in &changes {
        let Changed::Applied(applied) = change else { continue };
        for conversation in &applied.transcripts_due {
            let owed = transcripts::enqueue_job(&context.jetstream, conversation, None).await;
            owed.map_err(|error| anyhow::anyhow!("a transcript job was not stored: {error}"))?;
        }
    }
    Ok(())
}

/// One patch a call, as the workers join theirs, and the files that they point to.
fn join(events: Vec<Event>) -> (Vec<CallPatch>, Vec<(String, Attachment)>) {
    let mut patches: Vec<(Option<Key>, CallPatch)> = Vec::new();
    let mut files = Vec::new();
    for event in events {
        let id = event.id.clone();
        let (patch, file) = CallPatch::split(event);
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

fn show(patch: &CallPatch, preview: &Preview, done: &mut Done) -> anyhow::Result<()> {
    let call = patch.call_id.as_ref().map(CallId::as_str);
    let name = call.or_else(|| patch.conversation_id.as_ref().map(ConversationId::as_str)).unwrap_or("-");
    match preview {
        Preview::Unchanged => Ok(()),
        Preview::Created => {
            done.created += 1;
            print_line(format!("{name}: would be created"))
        }
        Preview::Merged => {
            done.merged += 1;
            print_line(format!("{name}: documents of one call would be joined"))
        }
        Preview::Changed(differences) => {
            done.changed += 1;
            let fields = differences.iter().map(|difference| match &difference.values {
                Some((before, after)) => format!("{} {before} → {after}", difference.field),
                None => difference.field.clone(),
            });
            print_line(format!("{name}: would change: {}", fields.collect::<Vec<_>>().join(", ")))
        }
    }
}
