//! Growth: what an event costs with ten thousand to ten million calls stored, and what a webhook costs with a
//! thousand to a million messages in the stream.
//!
//! One broker and one database for all sizes: what is there grows, and what each size is measured with is new
//! to them.

mod plot;

use std::path::PathBuf;

use aftercall_common::contract::streams;
use anyhow::Context as _;
use async_nats::{Client, jetstream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use mongodb::{
    Collection,
    bson::{DateTime, Document, doc, oid::ObjectId},
};

use super::{
    Bench,
    backlog::{self, Kind},
    load::{self, Load},
    measure::{self, Series},
    stack::{self, Side},
    table::{Bar, Row, Table},
    visible,
};
use crate::server::Server;

/// Events of one measurement, about as many of the latest calls. With ten thousand calls stored each gets two.
const EVENTS: usize = 20_000;
/// Ids do not come in order: multiples of this are all numbers below the other, each once.
const SCATTER: usize = 2_654_435_761;
const IDS: usize = 1_000_000_000;
/// Documents inserted at a time, and how many times at once.
const CHUNK: usize = 1000;
const AT_ONCE: usize = 4;
/// Gigabytes that the database keeps in memory. Without room for its indexes each event costs reads and writes.
const CACHE: u32 = 10;
/// As much is stored between two words about it.
const STEP: usize = 50_000;
const CALLS: &str = "stored calls";
const SMALLEST_CALLS: u32 = 10_000;
const MESSAGES: &str = "messages in the stream";
const SMALLEST_MESSAGES: u32 = 1000;
/// How many times as much an event may cost at the largest size as at the smallest.
const BAR: f64 = 1.5;

/// How far it grows.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Of the growth")]
#[group(id = "growth")]
pub struct Options {
    /// Calls stored in the end; measured at every power of ten from ten thousand on
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(i64::from(SMALLEST_CALLS)..))]
    most_calls: u32,
    /// Messages in the stream in the end; measured at every power of ten from a thousand on
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(i64::from(SMALLEST_MESSAGES)..))]
    most_messages: u32,
    /// Also draw the processor time by size, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// What was measured of one thing that there is more and more of.
struct Growth {
    title: String,
    /// What there is more of.
    of: &'static str,
    /// The second and the third are processor time, and what the bar is about.
    columns: [(&'static str, usize); 4],
    sizes: Vec<(u32, [Series; 4])>,
}

/// Measures both.
pub(super) async fn run(bench: &Bench, options: &Options) -> anyhow::Result<(Vec<Table>, Vec<Bar>)> {
    let mut growths = Vec::new();
    let sizes = powers(bench, CALLS, SMALLEST_CALLS, options.most_calls);
    if !sizes.is_empty() {
        growths.push(calls(bench, &sizes).await?);
    }
    let sizes = powers(bench, MESSAGES, SMALLEST_MESSAGES, options.most_messages);
    if !sizes.is_empty() {
        growths.push(messages(bench, &sizes).await?);
    }
    if let Some(file) = &options.plot {
        let charts: Vec<_> = growths.iter().map(Growth::chart).collect();
        plot::write(file, &charts).with_context(|| format!("cannot draw {}", file.display()))?;
    }
    let bars = growths.iter().filter_map(Growth::bar).collect();
    Ok((growths.into_iter().map(Growth::table).collect(), bars))
}

/// The powers of ten that are to be measured.
fn powers(bench: &Bench, of: &str, smallest: u32, most: u32) -> Vec<u32> {
    std::iter::successors(Some(smallest), |size| size.checked_mul(10))
        .take_while(|&size| size <= most)
        .filter(|size| case(*size, of).contains(&bench.only))
        .collect()
}

fn case(size: u32, of: &str) -> String {
    format!("{size} {of}")
}

impl Growth {
    /// What each process used at each size.
    fn chart(&self) -> plot::Chart {
        let line = |(n, (name, _)): (usize, &(&'static str, usize))| {
            let points =
                self.sizes.iter().map(|(size, figures)| (f64::from(*size), figures[n].summary().median));
            Some(plot::Line { process: process(name)?, points: points.collect() })
        };
        plot::Chart { of: self.of, lines: self.columns.iter().enumerate().filter_map(line).collect() }
    }

    /// The largest size against the smallest, where there are two.
    fn bar(&self) -> Option<Bar> {
        let [(smallest, before), .., (largest, after)] = &self.sizes[..] else { return None };
        let [before, after] =
            [before, after].map(|figures| figures[1].summary().median + figures[2].summary().median);
        let [a, b] = [self.columns[1], self.columns[2]].map(|(name, _)| process(name).unwrap_or(name));
        let text = format!(
            "with {} {a} and {b} use {after:.1} us per event, with {smallest} {before:.1} us (bar {BAR} times that)",
            case(*largest, self.of)
        );
        Some(Bar { met: after <= before * BAR, text })
    }

    fn table(self) -> Table {
        let row =
            |(size, figures): (u32, [Series; 4])| Row { case: case(size, self.of), figures: figures.into() };
        Table::new(self.title, &self.columns, self.sizes.into_iter().map(row).collect())
    }
}

/// Whose processor time is in the column of this name.
fn process(column: &'static str) -> Option<&'static str> {
    column.strip_suffix(" CPU us")
}

/// Measures one size.
async fn rounds(
    bench: &Bench,
    case: &str,
    mut one: impl AsyncFnMut() -> anyhow::Result<[f64; 4]>,
) -> anyhow::Result<[Series; 4]> {
    let mut figures = <[Series; 4]>::default();
    for round in 1..=bench.rounds {
        bench.progress.step(&format!("growth: {case}, round {round} of {}", bench.rounds));
        let measured = one().await.with_context(|| case.to_owned())?;
        for (series, figure) in figures.iter_mut().zip(measured) {
            series.push(figure);
        }
    }
    Ok(figures)
}

/// Events about the latest of more and more calls.
async fn calls(bench: &Bench, wanted: &[u32]) -> anyhow::Result<Growth> {
    let (mut calls, mut sizes) = (Calls::new(bench).await?, Vec::new());
    for &size in wanted {
        calls.grow(bench, size as usize).await?;
        sizes.push((size, rounds(bench, &case(size, CALLS), async || calls.round(bench).await).await?));
    }
    let columns = [("events/s", 0), ("worker CPU us", 1), ("mongod CPU us", 1), ("nats-server CPU us", 1)];
    let title = format!("Growth: {EVENTS} events about the latest calls; median (least-most)");
    Ok(Growth { title, of: CALLS, columns, sizes })
}

/// What is in the ids of a call.
fn id(call: usize) -> usize {
    call * SCATTER % IDS
}

/// Calls that are stored, and the servers that they are stored with.
struct Calls {
    broker: Server,
    database: Server,
    client: Client,
    collection: Collection<Document>,
    /// What the worker made of the second event of a call. All calls are copies of it.
    template: Document,
    /// When it was created, in milliseconds.
    created: i64,
    /// How many calls there are.
    count: usize,
    /// How many of them have had an event since they were last as the template.
    used: usize,
    /// Number of the next event.
    next: usize,
}

impl Calls {
    /// With the one call that a worker has stored.
    async fn new(bench: &Bench) -> anyhow::Result<Self> {
        let (broker, database) =
            (stack::broker(bench, true).await?, stack::database_with(bench, Some(CACHE)).await?);
        let client = async_nats::connect(broker.url()).await?;
        backlog::fill(&client, Kind::Whole, 1, 1).await?;
        let mut worker = stack::worker(bench, Side::Ours, &broker, &database.url()).await?;
        backlog::until(&jetstream::new(client.clone()), 1, |progress| progress.left == 0).await?;
        worker.stop().await?;
        let collection = visible::calls(&database).await?;
        let template = collection.find_one(doc! {}).await?.context("the worker stored no call")?;
        let created = template.get_datetime("createdAt")?.timestamp_millis();
        Ok(Self { broker, database, client, collection, template, created, count: 1, used: 0, next: 2 })
    }

    /// Makes it `size` calls, all as the template.
    async fn grow(&mut self, bench: &Bench, size: usize) -> anyhow::Result<()> {
        self.restore().await?;
        for first in (self.count..size).step_by(STEP) {
            bench.progress.step(&format!("growth: storing calls, {first} of {size}"));
            let end = size.min(first + STEP);
            let chunks = (first..end).step_by(CHUNK).map(|first| {
                let copies: Vec<_> = (first..end.min(first + CHUNK)).map(|call| self.copy(call)).collect();
                let collection = self.collection.clone();
                async move { collection.insert_many(copies).ordered(false).await.map(drop) }
            });
            futures_util::stream::iter(chunks).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        }
        self.count = size;
        Ok(())
    }

    fn copy(&self, call: usize) -> Document {
        let mut copy = self.template.clone();
        copy.insert("_id", ObjectId::new());
        copy.insert("callId", format!("bench_{:09}", id(call)));
        copy.insert("conversationId", format!("conv_{:09}", id(call)));
        // A call every hundredth of a second.
        let created = self.created + i64::try_from(call).unwrap_or(i64::MAX) * 10;
        copy.insert("createdAt", DateTime::from_millis(created));
        copy
    }

    /// Makes every call that has had an event as it was before: a longer history would cost more by itself.
    async fn restore(&mut self) -> anyhow::Result<()> {
        let ids = doc! {
            "_id": "$_id", "callId": "$callId", "conversationId": "$conversationId", "createdAt": "$createdAt",
        };
        let whole = doc! { "$mergeObjects": [{ "$literal": self.template.clone() }, ids] };
        let changed = doc! { "history.1": { "$exists": true } };
        self.collection.update_many(changed, vec![doc! { "$replaceWith": whole }]).await?;
        self.used = 0;
        Ok(())
    }

    /// Lets a worker apply events; how many a second, and the processor time of worker, database and broker for
    /// each.
    async fn round(&mut self, bench: &Bench) -> anyhow::Result<[f64; 4]> {
        if self.used + EVENTS > self.count {
            self.restore().await?;
        }
        let (used, next, count) = (self.used, self.next, self.count);
        let events = (0..EVENTS).map(|n| {
            let call = count - 1 - (used + n) % count;
            (next + n, backlog::webhook(Kind::Whole, 5 * id(call) + 2))
        });
        backlog::fill_these(&self.client, events).await?;
        (self.used, self.next) = (used + EVENTS, next + EVENTS);
        // What was inserted before is not to be written out while events are measured.
        self.collection.client().database("admin").run_command(doc! { "fsync": 1 }).await?;

        let mut worker = stack::worker(bench, Side::Ours, &self.broker, &self.database.url()).await?;
        let pids = [worker.pid(), self.database.process().pid(), self.broker.process().pid()];
        // Everything before these is settled.
        let (rate, cpu) = backlog::drained(self.client.clone(), EVENTS, pids).await?;
        worker.stop().await?;
        let [worker, database, broker] = cpu;
        Ok([rate, worker, database, broker])
    }
}

/// Webhooks stored behind more and more messages. A size is that at the start of a measurement, which adds its
/// own: some ten thousands.
async fn messages(bench: &Bench, wanted: &[u32]) -> anyhow::Result<Growth> {
    let (mut stored, mut sizes) = (Messages::new(bench).await?, Vec::new());
    for &size in wanted {
        let one = async || {
            stored.resize(bench, size as usize).await?;
            stored.round(bench).await
        };
        sizes.push((size, rounds(bench, &case(size, MESSAGES), one).await?));
    }
    let columns = [("webhooks/s", 0), ("gateway CPU us", 1), ("nats-server CPU us", 1), ("p99 ms", 2)];
    let title = "Growth: webhooks stored behind messages of before, 64 connections; median (least-most)";
    Ok(Growth { title: title.to_owned(), of: MESSAGES, columns, sizes })
}

/// The broker whose stream they are in.
struct Messages {
    broker: Server,
    client: Client,
    context: jetstream::Context,
    /// How many were stored without a gateway.
    filled: usize,
}

impl Messages {
    async fn new(bench: &Bench) -> anyhow::Result<Self> {
        let broker = stack::broker(bench, true).await?;
        let client = async_nats::connect(broker.url()).await?;
        let context = jetstream::new(client.clone());
        streams::ensure(&context, 1).await?;
        Ok(Self { broker, client, context, filled: 0 })
    }

    /// Makes it `size` messages: more, or fewer again after a round, which has added its own.
    async fn resize(&mut self, bench: &Bench, size: usize) -> anyhow::Result<()> {
        let webhooks = self.context.get_stream(streams::WEBHOOKS).await?;
        webhooks.purge().keep(size as u64).await?;
        let there = usize::try_from(webhooks.cached_info().state.messages)?;
        for first in (there..size).step_by(STEP) {
            bench.progress.step(&format!("growth: storing messages, {first} of {size}"));
            let count = STEP.min(size - first);
            backlog::fill(&self.client, Kind::Distinct, self.filled, count).await?;
            self.filled += count;
        }
        Ok(())
    }

    /// Posts webhooks; how many are answered a second, the processor time of gateway and broker for each, and
    /// the milliseconds within which 99 of 100 are answered.
    async fn round(&mut self, bench: &Bench) -> anyhow::Result<[f64; 4]> {
        let gateway = stack::gateway(bench, Side::Ours, &self.broker).await?;
        let load = Load { connections: 64, bytes: 300, time: bench.time };
        let before = self.used().await?;
        let outcome = load::measure(load, gateway.address, gateway.process.pid()).await?;
        let after = self.used().await?;
        // Per message that was stored, so that those of the warm-up count too.
        let broker = (after.0 - before.0) * 1e6 / (after.1 - before.1);
        Ok([outcome.per_second, outcome.cpu, broker, outcome.p99])
    }

    /// Processor time of the broker so far, in seconds, and messages that it has stored.
    async fn used(&mut self) -> anyhow::Result<(f64, f64)> {
        let webhooks = self.context.get_stream(streams::WEBHOOKS).await?;
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let stored = webhooks.cached_info().state.last_sequence as f64;
        Ok((measure::cpu_seconds(self.broker.process().pid())?, stored))
    }
}
