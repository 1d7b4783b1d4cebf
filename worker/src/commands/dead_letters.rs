//! `aftercall-worker dead-letters`: look at what can never work, send it again after a fix, or drop it.

use aftercall_common::contract::streams::{self, header};
use anyhow::{Context as _, bail, ensure};
use async_nats::jetstream::stream::Stream;
use indicatif::ProgressBar;
use jiff::Timestamp;

use super::{print_line, terminal};
use crate::{
    Context,
    dead_letters::{DeadLetter, RedriveError, redrive},
};

/// What to do with dead letters.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// List them, the oldest first
    List {
        /// Which.
        #[command(flatten)]
        filter: Filter,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one: why it is here, and its body as it was received
    Show {
        /// Its number, as `list` shows it
        sequence: u64,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Send them to where they came from once more, and remove them here
    Replay {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Print what would be sent, and send nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove them for good
    Drop {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Which letters are meant.
#[derive(Clone, Debug, clap::Args)]
pub struct Filter {
    /// Only those buried for this reason
    #[arg(long)]
    reason: Option<String>,
    /// Only those buried since: RFC 3339, or how long ago
    #[arg(long, value_name = "TIME", value_parser = terminal::moment)]
    since: Option<Timestamp>,
    /// Only those buried until then
    #[arg(long, value_name = "TIME", value_parser = terminal::moment)]
    until: Option<Timestamp>,
}

/// Letters by number, or all that a filter lets through.
#[derive(Clone, Debug, clap::Args)]
pub struct Which {
    /// Their numbers
    #[arg(required_unless_present_any = ["all", "reason"])]
    sequences: Vec<u64>,
    /// All of them, or all that the filters let through
    #[arg(long, conflicts_with = "sequences")]
    all: bool,
    #[command(flatten)]
    filter: Filter,
}

impl Filter {
    fn lets(&self, letter: &DeadLetter) -> bool {
        let at = letter.dead_lettered_at();
        self.reason.as_deref().is_none_or(|reason| reason == letter.header(header::DEAD_REASON))
            && self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at <= until)
    }
}

/// Does what `command` says.
pub async fn run(context: &Context, command: &Command) -> anyhow::Result<()> {
    let graves = context.jetstream.get_stream(streams::DEAD_LETTERS).await;
    let graves = graves.with_context(|| format!("stream {} cannot be read", streams::DEAD_LETTERS))?;
    match command {
        Command::List { filter, json } => list(&graves, filter, *json).await,
        Command::Show { sequence, json } => show(&graves, *sequence, *json).await,
        Command::Replay { which, dry_run } => replay(context, &graves, which, *dry_run).await,
        Command::Drop { which, yes } => remove(&graves, which, *yes).await,
    }
}

async fn list(graves: &Stream, filter: &Filter, json: bool) -> anyhow::Result<()> {
    let (mut next, mut shown) = (1, 0);
    while let Some(letter) = read(graves, next).await? {
        next = letter.0.sequence + 1;
        if !filter.lets(&letter) {
            continue;
        }
        if json {
            print_line(letter.json())?;
        } else {
            if shown == 0 {
                print_line(format!(
                    "{:<8} {:<20} {:<20} {:>9}  DETAIL",
                    "NUMBER", "BURIED", "REASON", "BYTES"
                ))?;
            }
            print_line(format!(
                "{:<8} {:<20} {:<20} {:>9}  {}",
                letter.0.sequence,
                format!("{:.0}", letter.dead_lettered_at()),
                letter.header(header::DEAD_REASON),
                letter.bytes(),
                letter.header(header::DEAD_DETAIL),
            ))?;
        }
        shown += 1;
    }
    if shown == 0 && !json {
        println!("no dead letters");
    }
    Ok(())
}

async fn show(graves: &Stream, sequence: u64, json: bool) -> anyhow::Result<()> {
    let letter = one(graves, sequence).await?;
    let body = String::from_utf8_lossy(&letter.0.payload);
    let mut fields = letter.json();
    if json {
        fields["body"] = body.into_owned().into();
        return print_line(fields);
    }
    for (name, value) in fields.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        print_line(format!("{name:<15} {value}"))?;
    }
    print_line(format!("\n{body}"))
}

async fn replay(context: &Context, graves: &Stream, which: &Which, dry_run: bool) -> anyhow::Result<()> {
    let letters = chosen(graves, which).await?;
    let bar = terminal::bar(letters.len());
    let (mut sent, mut refused) = (0, 0);
    for sequence in &letters {
        let Some(letter) = DeadLetter::at(graves, *sequence).await.map_err(broken)? else { continue };
        let reason = letter.header(header::DEAD_REASON).to_owned();
        let outcome = if dry_run {
            letter
                .redriven()
                .map(|(origin, _)| Some(origin.subject))
                .map_err(|why| RedriveError::NotRedrivable(*sequence, why))
        } else {
            redrive(&context.jetstream, graves, letter, None).await.map(|_| None)
        };
        match outcome {
            Ok(Some(subject)) => print_line(format!("would send number {sequence} ({reason}) to {subject}"))?,
            Ok(None) => sent += 1,
            // One that must not be sent does not keep the others here.
            Err(why @ RedriveError::NotRedrivable(..)) => {
                refused += 1;
                bar.suspend(|| eprintln!("{why}"));
            }
            Err(error) => return Err(error.into()),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if !dry_run {
        println!("{sent} dead letters sent again");
    }
    ensure!(refused == 0, "{refused} dead letters are not sent again; look at them, or drop them");
    Ok(())
}

async fn remove(graves: &Stream, which: &Which, yes: bool) -> anyhow::Result<()> {
    let letters = chosen(graves, which).await?;
    if letters.is_empty() {
        println!("no dead letters");
        return Ok(());
    }
    if !yes && !terminal::is_confirmed(&format!("Drop {} dead letters for good", letters.len()))? {
        bail!("nothing was dropped");
    }
    let bar: ProgressBar = terminal::bar(letters.len());
    for sequence in &letters {
        graves
            .delete_message(*sequence)
            .await
            .with_context(|| format!("number {sequence} was not dropped"))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!("{} dead letters dropped", letters.len());
    Ok(())
}

/// The numbers that are meant, all of which exist.
async fn chosen(graves: &Stream, which: &Which) -> anyhow::Result<Vec<u64>> {
    for sequence in &which.sequences {
        one(graves, *sequence).await?;
    }
    if !which.sequences.is_empty() {
        return Ok(which.sequences.clone());
    }
    let (mut next, mut chosen) = (1, Vec::new());
    while let Some(letter) = read(graves, next).await? {
        next = letter.0.sequence + 1;
        if which.filter.lets(&letter) {
            chosen.push(letter.0.sequence);
        }
    }
    Ok(chosen)
}

async fn one(graves: &Stream, sequence: u64) -> anyhow::Result<DeadLetter> {
    let found = DeadLetter::at(graves, sequence).await.map_err(broken)?;
    found.with_context(|| format!("there is no dead letter number {sequence}"))
}

async fn read(graves: &Stream, from: u64) -> anyhow::Result<Option<DeadLetter>> {
    DeadLetter::next(graves, from).await.map_err(broken)
}

fn broken(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("the broker does not answer: {error}")
}
