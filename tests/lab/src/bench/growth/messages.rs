//! Cost of a webhook by the number of messages in the stream.

use aftercall_common::contract::streams;
use aftercall_local::server::Server;
use async_nats::{Client, jetstream};

use super::{
    super::{
        backlog::{self, Kind},
        context::Bench,
        launch::{self, Implementation},
        load::{self, Load},
        measure,
    },
    series::{Growth, case, rounds},
};

/// Name of the quantity that grows.
pub const NAME: &str = "messages in the stream";
/// Smallest size.
pub const SMALLEST: u32 = 1000;
/// Messages between two progress messages.
const STEP: usize = 50_000;

/// Measures webhooks at each size of `wanted`. A size is the number of messages at the start of a
/// measurement. The measurement adds a few ten thousand messages.
pub async fn measure(bench: &Bench, wanted: &[u32]) -> anyhow::Result<Growth> {
    let (mut stored, mut sizes) = (Messages::new(bench).await?, Vec::new());
    for &size in wanted {
        let one = async || {
            stored.resize(bench, size as usize).await?;
            stored.round(bench).await
        };
        sizes.push((size, rounds(bench, &case(size, NAME), one).await?));
    }
    let columns = [("webhooks/s", 0), ("gateway CPU us", 1), ("nats-server CPU us", 1), ("p99 ms", 2)];
    let title = "Growth: webhooks by number of earlier messages, 64 connections; median (least-most)";
    Ok(Growth { title: title.to_owned(), name: NAME, columns, sizes })
}

/// The broker with the messages.
struct Messages {
    broker: Server,
    client: Client,
    context: jetstream::Context,
    /// Number of messages that were stored without a gateway.
    filled: usize,
}

impl Messages {
    /// Starts a broker with an empty stream.
    async fn new(bench: &Bench) -> anyhow::Result<Self> {
        let broker = launch::broker(bench, true).await?;
        let client = async_nats::connect(broker.url()).await?;
        let context = jetstream::new(client.clone());
        streams::ensure(&context, 1).await?;
        Ok(Self { broker, client, context, filled: 0 })
    }

    /// Adds or removes messages so that the stream holds `size` messages.
    async fn resize(&mut self, bench: &Bench, size: usize) -> anyhow::Result<()> {
        let webhooks = self.context.get_stream(streams::WEBHOOKS).await?;
        webhooks.purge().keep(size as u64).await?;
        let stored = usize::try_from(webhooks.cached_info().state.messages)?;
        for first in (stored..size).step_by(STEP) {
            bench.progress.step(&format!("growth: storing messages, {first} of {size}"));
            let count = STEP.min(size - first);
            backlog::fill(&self.client, Kind::Distinct, self.filled, count).await?;
            self.filled += count;
        }
        Ok(())
    }

    /// Posts webhooks. Returns webhooks per second, the processor time per webhook of gateway and broker, and
    /// the p99 of the answers in milliseconds.
    async fn round(&mut self, bench: &Bench) -> anyhow::Result<[f64; 4]> {
        let gateway = launch::gateway(bench, Implementation::Aftercall, &self.broker).await?;
        let load = Load { connections: 64, bytes: 300, time: bench.time };
        let before = self.used().await?;
        let outcome = load::measure(load, gateway.address, gateway.process.pid()).await?;
        let after = self.used().await?;
        // Divided by the number of stored messages, which includes the webhooks of the warm-up.
        let broker = (after.0 - before.0) * 1e6 / (after.1 - before.1);
        Ok([outcome.per_second, outcome.cpu, broker, outcome.p99])
    }

    /// Processor time of the broker so far in seconds, and number of messages that it has stored.
    async fn used(&mut self) -> anyhow::Result<(f64, f64)> {
        let webhooks = self.context.get_stream(streams::WEBHOOKS).await?;
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let stored = webhooks.cached_info().state.last_sequence as f64;
        Ok((measure::cpu_seconds(self.broker.process().pid())?, stored))
    }
}
