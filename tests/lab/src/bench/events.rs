//! The role `deliver`: time from a document to its event in the stream `CALLS`, and at an endpoint.

use std::{net::SocketAddr, pin::pin, time::Duration};

use aftercall_common::contract::streams::CALLS;
use aftercall_worker::domain::delivery::EventType;
use anyhow::Context as _;
use async_nats::jetstream::{
    self,
    consumer::{DeliverPolicy, pull},
};
use futures_util::StreamExt as _;

use super::{
    context::Bench,
    endpoint::{self, Receiver},
    launch::{self, Implementation},
    load,
    measure::{Series, Times},
    table::{Row, Table, Target},
};

/// Webhooks per second.
const RATE: u32 = 100;
/// Connections of the webhooks.
const CONNECTIONS: u32 = 8;
/// Roles of the worker.
const ROLES: &str = "status,deliver";
const WARM_UP: Duration = Duration::from_secs(2);
/// Longest wait for the next event.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Targets for the p99 at a subscriber of the stream and at an endpoint, in milliseconds.
const MAX_P99_MS: [f64; 2] = [150.0, 300.0];
/// Who gets the events.
const RECEIVERS: [&str; 2] = ["subscriber of CALLS", "endpoint"];

/// Measures the delay of events at a steady rate.
pub(super) async fn run(bench: &Bench) -> anyhow::Result<(Table, Vec<Target>)> {
    let mut figures: [[Series; 2]; 2] = Default::default();
    for round in 1..=bench.rounds {
        bench.progress.step(&format!("events: round {round} of {}", bench.rounds));
        let times = measure(bench).await.context("gateway and worker")?;
        for (times, [p50, p99]) in times.iter().zip(&mut figures) {
            p50.push(times.ms(0.5));
            p99.push(times.ms(0.99));
        }
    }
    let target = |((receiver, limit), [_, p99]): ((&str, f64), &[Series; 2])| {
        let median = p99.summary().median;
        let text = format!("{receiver}: p99 {median:.1} ms (target: {limit:.0})");
        Target { met: median <= limit, text }
    };
    let targets = RECEIVERS.into_iter().zip(MAX_P99_MS).zip(&figures).map(target).collect();
    let row =
        |(receiver, figures): (&str, [Series; 2])| Row { case: receiver.to_owned(), figures: figures.into() };
    let rows = RECEIVERS.into_iter().zip(figures).map(row).collect();
    let title = format!(
        "From the write of a document to its event call.created: {RATE} calls a second, sync always; median \
         (least-most)"
    );
    Ok((Table::new(title, &[("p50 ms", 1), ("p99 ms", 1)], rows), targets))
}

/// The delays of one round with new servers: at a subscriber, and at an endpoint.
async fn measure(bench: &Bench) -> anyhow::Result<[Times; 2]> {
    let (broker, database) = (launch::broker(bench, true).await?, launch::database(bench).await?);
    let mut endpoint = Receiver::start(&database, EventType::Created).await?;
    let aftercall = Implementation::Aftercall;
    let _worker = launch::worker_with(bench, aftercall, &broker, &database.url(), ROLES).await?;
    let gateway = launch::gateway(bench, aftercall, &broker).await?;
    let context = jetstream::new(async_nats::connect(broker.url()).await?);
    under_load(&context, &mut endpoint, gateway.address, WARM_UP.min(bench.time)).await?;
    under_load(&context, &mut endpoint, gateway.address, bench.time).await
}

/// Posts webhooks for `time`, and reads an event for each of them.
async fn under_load(
    context: &jetstream::Context,
    endpoint: &mut Receiver,
    gateway: SocketAddr,
    time: Duration,
) -> anyhow::Result<[Times; 2]> {
    let stream = context.get_stream(CALLS).await?;
    let config = pull::OrderedConfig {
        deliver_policy: DeliverPolicy::New,
        filter_subject: "calls.created".to_owned(),
        ..pull::OrderedConfig::default()
    };
    let mut events = stream.create_consumer(config).await?.messages().await?;
    let (mut load, mut posted) = (pin!(load::paced(gateway, CONNECTIONS, RATE, time, |_| ())), None);
    let [mut subscribed, mut delivered] = [Times::new()?, Times::new()?];
    while posted.is_none_or(|posted| subscribed.count() < posted || delivered.count() < posted) {
        tokio::select! {
            answers = &mut load, if posted.is_none() => posted = Some(answers?.count()),
            event = tokio::time::timeout(TIMEOUT, events.next()),
                if posted.is_none_or(|posted| subscribed.count() < posted) =>
            {
                let event = event.context("no event")?.context("the stream ended")??;
                subscribed.record(endpoint::since_document(&event.payload).context("no event of a call")?)?;
            }
            delay = endpoint.next(), if posted.is_none_or(|posted| delivered.count() < posted) => {
                delivered.record(delay?)?;
            }
        }
    }
    Ok([subscribed, delivered])
}
