//! `cargo local send`: posts the webhooks of generated calls, and checks the documents that they become.
//!
//! The expected document follows from the generated call ([`scenario`]), not from the worker's code. Both
//! have to agree for any order and repetition of webhooks.

pub mod check;
mod conversations;
mod payload;
mod post;
mod report;
pub mod scenario;
pub mod traffic;
mod visible;

use std::{
    io::IsTerminal as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mongodb::{Client, Collection, bson::Document, options::ClientOptions};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{data_folder::DataFolder, simulator::generated};

const COLLECTION: &str = "agent_calls";
const DATABASE: &str = "aftercall";
/// Pause between two reads of the collection.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Time for which all documents must stay as expected before the check ends.
const STABLE_FOR: Duration = Duration::from_secs(2);

/// The webhooks to post, and their rate.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// About this many calls; each makes between one and six webhooks
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    calls: u32,
    /// Webhooks per second [default: as fast as the gateway takes them]
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// Repetitions, as a multiple of the number of webhooks
    #[arg(long, value_name = "FRACTION", default_value_t = 0.2)]
    duplicates: f64,
    /// Keep the order in which the events of a call happened [default: shuffled]
    #[arg(long)]
    ordered: bool,
    /// Seed of the calls; the same seed generates the same calls with new ids [default: random, printed]
    #[arg(long, value_name = "S")]
    seed: Option<u32>,
    /// Webhooks in flight at a time
    #[arg(long, value_name = "C", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Post N webhooks one at a time instead of the calls, and measure the time from each webhook to its document
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    visible: Option<u32>,
    /// Give up if documents differ, and no document has changed for this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    settle: u64,
    /// Gateway to post to [default: the gateway of `up`]
    #[arg(long, requires = "mongodb_uri")]
    url: Option<String>,
    /// URI of MongoDB, whose database `aftercall` is read [default: that of `up`]
    #[arg(long, requires = "url")]
    mongodb_uri: Option<String>,
}

/// The beginnings of the ids of the generated calls.
struct Ids {
    /// Of calls.
    run: String,
    /// Of conversations.
    prefix: String,
}

/// Gateway and database.
struct Target {
    url: String,
    mongodb_uri: String,
    database: String,
}

/// Posts the webhooks, waits for the documents and compares them. Exits with success if every webhook was
/// accepted and every document is right.
pub async fn run(data: &DataFolder, options: Options) -> anyhow::Result<ExitCode> {
    ensure!((0.0..=10.0).contains(&options.duplicates), "--duplicates must be between 0 and 10");
    ensure!(options.rate.is_none_or(|rate| rate > 0.0), "--rate must be more than 0");
    let target = target(data, &options)?;
    let calls_collection = collection(&target).await?;

    let seed = options.seed.unwrap_or_else(|| rand::rng().random());
    let now = jiff::Timestamp::now();
    let mut rng = StdRng::seed_from_u64(seed.into());
    let run = format!("{:x}{seed:08x}", now.as_millisecond());
    if let Some(count) = options.visible {
        let times = visible::measure(&target.url, &calls_collection, &run, count).await?;
        print!("{}", report::visible(&times));
        return Ok(ExitCode::SUCCESS);
    }
    // A third of the calls are conversations, with webhooks as ElevenLabs sends them.
    let conversations = options.calls / 3;
    let mut calls: Vec<_> = (conversations..options.calls)
        .map(|n| scenario::call(&mut rng, &run, n - conversations, now))
        .collect();
    calls.extend((0..conversations).flat_map(|n| conversations::calls(seed, n, now)));
    let ids = Ids { run, prefix: generated::sent_prefix(seed, now) };
    let posts = traffic::posts(&calls, options.duplicates, options.ordered, &mut rng);
    println!("{} calls, {} webhooks, to {}  (--seed {seed})", calls.len(), posts.len(), target.url);

    let bar = progress_bar(posts.len(), post::POSTING);
    let posted = post::all(&target.url, posts, options.connections, options.rate, &bar).await?;
    bar.finish_and_clear();
    print!("{}", report::posting(&posted));

    let comparison =
        wait_for_documents(&calls_collection, &ids, &calls, Duration::from_secs(options.settle)).await?;
    print!("{}", report::documents(&comparison));
    let is_right = comparison.wrong.is_empty() && posted.rejected == 0;
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn target(data: &DataFolder, options: &Options) -> anyhow::Result<Target> {
    let webhooks = |url: &str| format!("{}/api/webhooks/elevenlabs/call-status", url.trim_end_matches('/'));
    if let (Some(url), Some(uri)) = (&options.url, &options.mongodb_uri) {
        return Ok(Target { url: webhooks(url), mongodb_uri: uri.clone(), database: DATABASE.to_owned() });
    }
    let running = data.running().with_context(|| {
        format!("nothing runs in {}: start it with `{} up`", data.root().display(), data.command())
    })?;
    Ok(Target {
        url: webhooks(&running.public_url),
        mongodb_uri: running.mongodb_uri,
        database: running.mongodb_database,
    })
}

async fn collection(target: &Target) -> anyhow::Result<Collection<Document>> {
    let mut options =
        ClientOptions::parse(&target.mongodb_uri).await.context("the URI of MongoDB cannot be used")?;
    options.server_selection_timeout = Some(Duration::from_secs(5));
    let database = Client::with_options(options)?.database(&target.database);
    database.run_command(mongodb::bson::doc! { "ping": 1 }).await.context("MongoDB does not answer")?;
    Ok(database.collection(COLLECTION))
}

/// Reads the documents until all stay right, or until nothing changes for `timeout`.
async fn wait_for_documents(
    collection: &Collection<Document>,
    ids: &Ids,
    calls: &[scenario::Call],
    timeout: Duration,
) -> anyhow::Result<check::Comparison> {
    let bar = progress_bar(calls.len(), "documents right");
    let (mut last, mut changed) = (None, Instant::now());
    loop {
        let read = check::read_with(collection, &ids.run, Some(ids.prefix.clone())).await;
        let found = read.context("cannot read the documents back")?;
        let comparison = check::compare(calls, &found);
        if last.as_ref() != Some(&found) {
            (last, changed) = (Some(found), Instant::now());
        }
        // A document that belongs to no call is wrong, too.
        bar.set_position(calls.len().saturating_sub(comparison.wrong.len()) as u64);
        if changed.elapsed() >= if comparison.wrong.is_empty() { STABLE_FOR } else { timeout } {
            bar.finish_and_clear();
            return Ok(comparison);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// A progress bar on a terminal; hidden elsewhere.
fn progress_bar(length: usize, label: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:16} {wide_bar} {pos}/{len}  {per_sec}  {elapsed}")
        .expect("the template is valid");
    let is_terminal = std::io::stderr().is_terminal();
    let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    ProgressBar::with_draw_target(Some(length as u64), target).with_style(style).with_message(label)
}
