//! `aftercall-worker forget`: erases a person from documents, recordings, stream messages, large bodies,
//! transcript jobs and dead letters, and says what it erased.
//!
//! A number is compared by its digits, wherever it stands and however it is written. Calls that it made or
//! received are the person's. Calls that only mention it belong to somebody else: they are listed, and are
//! erased only if that is asked for.
//!
//! Invariant: messages go before documents, so that nothing stored can bring a document back. What is
//! still in a gateway's spool, or comes later, is not known here: run it again after the last webhook.

mod mention;
mod person;

use std::collections::BTreeSet;

use aftercall_common::{
    contract::streams::{self, WEBHOOK_BODIES, header},
    phone_numbers::Numbers,
};
use anyhow::{Context as _, anyhow, bail};
use async_nats::{header::NATS_MESSAGE_ID, jetstream::Message};

use self::person::{Person, Whose};
use super::{print_line, terminal};
use crate::{
    Context,
    broker::scan::Scan,
    ingestion::{self, body_of},
    store::content_of,
};

/// Passes over the stream in search of more of a person's calls. Each finds what the last one led to.
const PASSES: usize = 4;
/// Most calls named that only mention the number.
const NAMED: usize = 20;

/// Who.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub struct Options {
    /// Everybody who was called under this number, or who called from it
    #[arg(
        long,
        visible_alias = "number",
        value_name = "NUMBER",
        required_unless_present = "call_id",
        conflicts_with = "call_id"
    )]
    to_number: Option<String>,
    /// Find the number also where it stands without its country or area: its last seven digits or more
    #[arg(long, requires = "to_number")]
    national: bool,
    /// Erase also the calls of others that only mention the number
    #[arg(long, requires = "to_number")]
    mentions: bool,
    /// Whoever took part in this call or conversation
    #[arg(long, value_name = "ID")]
    call_id: Option<String>,
    /// Print what would be erased, and erase nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

/// What there is of a person.
#[derive(Debug, Default)]
struct Traces {
    webhooks: Vec<u64>,
    bodies: Vec<String>,
    jobs: Vec<u64>,
    dead_letters: Vec<u64>,
    documents: u64,
    recordings: u64,
    /// Calls of others that mention the number.
    mentions: BTreeSet<String>,
}

impl Traces {
    fn messages(&self) -> usize {
        self.webhooks.len() + self.jobs.len() + self.dead_letters.len()
    }

    fn is_empty(&self) -> bool {
        self.messages() == 0 && self.documents == 0
    }

    fn json(&self, erased: bool) -> serde_json::Value {
        serde_json::json!({
            "erased": erased, "webhooks": self.webhooks.len(), "bodies": self.bodies.len(),
            "transcriptJobs": self.jobs.len(), "deadLetters": self.dead_letters.len(),
            "documents": self.documents, "recordings": self.recordings,
            "mentionedIn": self.mentions.iter().collect::<Vec<_>>(),
        })
    }
}

/// Does what `options` say.
pub async fn run(context: &Context, options: &Options) -> anyhow::Result<()> {
    let mut person = match (&options.to_number, &options.call_id) {
        (Some(number), _) => Person::with_number(number, options.national, options.mentions)
            .map_err(|problem| anyhow!("--to-number {problem}"))?,
        (None, id) => Person::with_id(id.as_deref().unwrap_or_default()),
    };
    let mut traces = find(context, &mut person).await?;
    if !options.dry_run && !options.yes && !confirmed(context, &mut person, &mut traces).await? {
        bail!("nothing was erased");
    }
    let erase = !options.dry_run && !traces.is_empty();
    if erase {
        self::erase(context, &person, &mut traces).await?;
    }
    if options.json {
        return print_line(traces.json(erase));
    }
    if traces.is_empty() {
        print_line("nothing is known of them")?;
    } else {
        print_line(format!(
            "{}: {} webhooks, {} large bodies, {} transcript jobs, {} dead letters, {} documents, {} recordings",
            if erase { "erased" } else { "would be erased" },
            traces.webhooks.len(),
            traces.bodies.len(),
            traces.jobs.len(),
            traces.dead_letters.len(),
            traces.documents,
            traces.recordings,
        ))?;
    }
    if traces.mentions.is_empty() {
        return Ok(());
    }
    print_line(format!("{}; --mentions erases them too", mentioned(&traces.mentions)))
}

/// Asks for what is theirs, and separately for what only mentions their number.
async fn confirmed(context: &Context, person: &mut Person, traces: &mut Traces) -> anyhow::Result<bool> {
    if !traces.is_empty() {
        let what =
            format!("Erase {} documents and {} messages for good", traces.documents, traces.messages());
        if !terminal::is_confirmed(&what)? {
            return Ok(false);
        }
    }
    if !traces.mentions.is_empty() {
        let what = format!("{}. Erase them too", mentioned(&traces.mentions));
        if terminal::is_confirmed(&what)? {
            *person = std::mem::take(person).and_mentions();
            *traces = find(context, person).await?;
        }
    }
    Ok(true)
}

/// The calls of others, by their names.
fn mentioned(mentions: &BTreeSet<String>) -> String {
    let named: Vec<_> = mentions.iter().take(NAMED).map(|name| Numbers::Masked.text(name)).collect();
    let more = if mentions.len() > NAMED { " …" } else { "" };
    format!("{} calls of others mention the number: {}{more}", mentions.len(), named.join(", "))
}

async fn find(context: &Context, person: &mut Person) -> anyhow::Result<Traces> {
    let mut traces = Traces::default();
    let mut mentions = BTreeSet::new();
    if person.has_number() {
        look_at_documents(context, person).await?;
    }
    for _ in 0..PASSES {
        let known = person.size();
        person.learn(&context.store.calls_of(person.filter()).await?);
        mentions.clear();
        (traces.webhooks, traces.bodies) =
            matching(context, streams::WEBHOOKS, person, &mut mentions).await?;
        if person.size() == known {
            break;
        }
    }
    let (letters, bodies) = matching(context, streams::DEAD_LETTERS, person, &mut mentions).await?;
    traces.dead_letters = letters;
    traces.bodies.extend(bodies);
    traces.bodies.sort_unstable();
    traces.bodies.dedup();
    traces.jobs = matching(context, streams::TRANSCRIPTS, person, &mut mentions).await?.0;
    traces.documents = context.store.calls_of(person.filter()).await?.len() as u64;
    traces.recordings = context.store.count_recordings(person.events()).await?;
    if person.has_number() {
        // Again, since some of those that mention the number have turned out to be theirs.
        mentions.extend(look_at_documents(context, person).await?);
    }
    mentions.retain(|name| !person.knows(name));
    traces.mentions = mentions;
    Ok(traces)
}

/// Looks at every stored call, for a number may stand anywhere in it; the names of those that mention it.
async fn look_at_documents(context: &Context, person: &mut Person) -> anyhow::Result<BTreeSet<String>> {
    let (mut last, mut mentions) = (None, BTreeSet::new());
    let bar = terminal::bar(usize::try_from(context.store.count().await?)?);
    loop {
        let calls = context.store.calls_after(last).await?;
        let Some(end) = calls.last() else { break };
        last = end.get_object_id("_id").ok();
        bar.inc(calls.len() as u64);
        for call in &calls {
            if let Whose::Mentions(name) = person.look_at(call, &content_of(call)) {
                mentions.insert(name);
            }
        }
    }
    bar.finish_and_clear();
    Ok(mentions)
}

/// The messages of `stream` that are about the person, and the large bodies they name.
async fn matching(
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
        // A body that is gone names nobody.
        let body = body_of(&context.jetstream, &message).await.unwrap_or_default();
        let whose = match ingestion::read(&message, &body) {
            Ok(event) => person.took_part(&event, &body),
            Err(_) => person.is_named_in(&body, &message.subject, &format!("message {sequence} of {stream}")),
        };
        match whose {
            Whose::Theirs => {
                sequences.push(sequence);
                bodies.extend(value(&message, header::BODY_OBJECT));
                person.learn_event(value(&message, NATS_MESSAGE_ID.as_ref()));
                person.learn_event(value(&message, header::DEAD_ID));
            }
            Whose::Mentions(name) => {
                mentions.insert(name);
            }
            Whose::Others => {}
        }
    }
    bar.finish_and_clear();
    Ok((sequences, bodies))
}

fn value(message: &Message, name: &str) -> Option<String> {
    Some(message.headers.as_ref()?.get(name)?.as_str().to_owned())
}

async fn erase(context: &Context, person: &Person, traces: &mut Traces) -> anyhow::Result<()> {
    let bar = terminal::bar(traces.messages());
    for (name, sequences) in [
        (streams::WEBHOOKS, &traces.webhooks),
        (streams::TRANSCRIPTS, &traces.jobs),
        (streams::DEAD_LETTERS, &traces.dead_letters),
    ] {
        let stream = context.jetstream.get_stream(name).await.with_context(|| format!("stream {name}"))?;
        for sequence in sequences {
            // The broker overwrites what it deletes. One that went by itself meanwhile is gone too.
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
