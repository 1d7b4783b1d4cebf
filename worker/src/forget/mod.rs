//! `aftercall-worker forget`: erases a person from documents, recordings, stream messages, large bodies,
//! transcript jobs and dead letters, and says what it erased.
//!
//! Invariant: messages go before documents, so that nothing stored can bring a document back. What is
//! still in a gateway's spool, or comes later, is not known here: run it again after the last webhook.

mod person;

use aftercall_common::stream::{self, WEBHOOK_BODIES, header};
use anyhow::{Context as _, anyhow, bail};
use async_nats::{header::NATS_MESSAGE_ID, jetstream::Message};

use self::person::Person;
use crate::{
    Context,
    commands::{self, print_line},
    scan::Scan,
    status::{self, body_of},
};

/// Passes over the stream in search of more of a person's calls. Each finds what the last one led to.
const PASSES: usize = 4;

/// Who.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Everybody who was called under this number
    #[arg(long, value_name = "NUMBER", required_unless_present = "call_id", conflicts_with = "call_id")]
    to_number: Option<String>,
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
        })
    }
}

/// Does what `options` say.
pub async fn run(context: &Context, options: &Options) -> anyhow::Result<()> {
    let mut person = match (&options.to_number, &options.call_id) {
        (Some(number), _) => {
            Person::with_number(number).map_err(|problem| anyhow!("--to-number {problem}"))?
        }
        (None, id) => Person::with_id(id.as_deref().unwrap_or_default()),
    };
    let mut traces = find(context, &mut person).await?;
    let erase = !options.dry_run && !traces.is_empty();
    if erase && !options.yes {
        let what =
            format!("Erase {} documents and {} messages for good", traces.documents, traces.messages());
        if !commands::is_confirmed(&what)? {
            bail!("nothing was erased");
        }
    }
    if erase {
        self::erase(context, &person, &mut traces).await?;
    }
    if options.json {
        return print_line(traces.json(erase));
    }
    if traces.is_empty() {
        return print_line("nothing is known of them");
    }
    print_line(format!(
        "{}: {} webhooks, {} large bodies, {} transcript jobs, {} dead letters, {} documents, {} recordings",
        if erase { "erased" } else { "would be erased" },
        traces.webhooks.len(),
        traces.bodies.len(),
        traces.jobs.len(),
        traces.dead_letters.len(),
        traces.documents,
        traces.recordings,
    ))
}

async fn find(context: &Context, person: &mut Person) -> anyhow::Result<Traces> {
    let mut traces = Traces::default();
    for _ in 0..PASSES {
        let known = person.size();
        person.learn(context.store.calls_of(person.filter()).await?);
        (traces.webhooks, traces.bodies) = matching(context, stream::WEBHOOKS, person).await?;
        if person.size() == known {
            break;
        }
    }
    let (letters, bodies) = matching(context, stream::DEAD_LETTERS, person).await?;
    traces.dead_letters = letters;
    traces.bodies.extend(bodies);
    traces.bodies.sort_unstable();
    traces.bodies.dedup();
    traces.jobs = matching(context, stream::TRANSCRIPTS, person).await?.0;
    traces.documents = context.store.calls_of(person.filter()).await?.len() as u64;
    traces.recordings = context.store.count_recordings(person.events()).await?;
    Ok(traces)
}

/// The messages of `stream` that are about the person, and the large bodies they name.
async fn matching(
    context: &Context,
    stream: &str,
    person: &mut Person,
) -> anyhow::Result<(Vec<u64>, Vec<String>)> {
    let mut scan = Scan::of(&context.jetstream, stream, 1).await?;
    let bar = commands::bar(usize::try_from(scan.left())?);
    let (mut sequences, mut bodies) = (Vec::new(), Vec::new());
    while let Some((sequence, message)) = scan.next().await? {
        bar.inc(1);
        // A body that is gone names nobody.
        let body = body_of(&context.jetstream, &message).await.unwrap_or_default();
        let is_theirs = match status::read(&message, &body) {
            Ok(event) => person.took_part(&event, &body),
            Err(_) => person.is_named_in(&body) || person.is_named_in(message.subject.as_bytes()),
        };
        if is_theirs {
            sequences.push(sequence);
            bodies.extend(value(&message, header::BODY_OBJECT));
            person.learn_event(value(&message, NATS_MESSAGE_ID.as_ref()));
            person.learn_event(value(&message, header::DEAD_ID));
        }
    }
    bar.finish_and_clear();
    Ok((sequences, bodies))
}

fn value(message: &Message, name: &str) -> Option<String> {
    Some(message.headers.as_ref()?.get(name)?.as_str().to_owned())
}

async fn erase(context: &Context, person: &Person, traces: &mut Traces) -> anyhow::Result<()> {
    let bar = commands::bar(traces.messages());
    for (name, sequences) in [
        (stream::WEBHOOKS, &traces.webhooks),
        (stream::TRANSCRIPTS, &traces.jobs),
        (stream::DEAD_LETTERS, &traces.dead_letters),
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
