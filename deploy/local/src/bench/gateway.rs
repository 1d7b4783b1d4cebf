//! The gateway: webhooks answered per second, next to its naive twin and to raw publishes.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context as _;

use super::{
    Bench,
    load::{self, Load, Outcome},
    measure::Series,
    raw,
    table::{Column, Row, Table},
};
use crate::{
    nats, ports,
    process::Process,
    server::Server,
    servers::{self, NATS},
};

const READY: Duration = Duration::from_secs(20);

/// One case.
struct Case {
    sync_always: bool,
    connections: usize,
    bytes: usize,
}

impl Case {
    fn name(&self) -> String {
        let Self { sync_always, connections, bytes } = self;
        let sync = if *sync_always { "always" } else { "default" };
        let size = if *bytes < 1000 { format!("{bytes} B") } else { format!("{} kB", bytes / 1000) };
        format!("{sync}, {size}, {connections} connections")
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for sync_always in [true, false] {
        for connections in [1, 4, 16, 64, 256] {
            cases.push(Case { sync_always, connections, bytes: 300 });
        }
        cases.push(Case { sync_always, connections: 64, bytes: 20_000 });
    }
    cases
}

#[derive(Default)]
struct Figures {
    ours: Side,
    twin: Side,
    raw: Series,
}

#[derive(Default)]
struct Side {
    rate: Series,
    p50: Series,
    p99: Series,
    cpu: Series,
    resident: Series,
}

impl Side {
    fn push(&mut self, outcome: &Outcome) {
        self.rate.push(outcome.per_second);
        self.p50.push(outcome.p50);
        self.p99.push(outcome.p99);
        self.cpu.push(outcome.cpu);
        self.resident.push(outcome.resident);
    }
}

/// Measures every case.
pub(super) async fn run(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let mut rows = Vec::new();
    for case in cases().into_iter().filter(|case| case.name().contains(&bench.only)) {
        let mut figures = Figures::default();
        for round in 1..=bench.rounds {
            bench.progress.step(&format!("gateway: {}, round {round} of {}", case.name(), bench.rounds));
            one_round(bench, &case, &mut figures).await.with_context(|| case.name())?;
        }
        let Figures { ours, twin, raw } = figures;
        let (to_twin, to_raw, p99) = (ours.rate.by(&twin.rate), ours.rate.by(&raw), ours.p99.by(&twin.p99));
        rows.push(Row {
            case: case.name(),
            figures: vec![
                ours.rate,
                twin.rate,
                raw,
                to_twin,
                to_raw,
                ours.p50,
                ours.p99,
                twin.p99,
                p99,
                ours.cpu,
                twin.cpu,
                ours.resident,
            ],
        });
    }
    let columns = [
        ("webhooks/s", 0),
        ("twin/s", 0),
        ("raw publishes/s", 0),
        ("/ twin", 2),
        ("/ raw", 2),
        ("p50 ms", 2),
        ("p99 ms", 2),
        ("twin p99 ms", 2),
        ("p99 / twin", 2),
        ("CPU us", 1),
        ("twin CPU us", 1),
        ("MiB", 1),
    ];
    let columns = columns.into_iter().map(|(name, decimals)| Column { name, decimals }).collect();
    let title = "Gateway: 200 once the broker has acknowledged; median (least-most)".to_owned();
    Ok(if rows.is_empty() { Vec::new() } else { vec![Table { title, columns, rows }] })
}

/// Ours, the twin and raw publishes, each on a fresh broker of its own.
async fn one_round(bench: &Bench, case: &Case, figures: &mut Figures) -> anyhow::Result<()> {
    let load = Load { connections: case.connections, bytes: case.bytes, time: bench.time };
    for (side, part) in [(&mut figures.ours, "gateway"), (&mut figures.twin, "naive-gateway")] {
        let broker = broker(bench, case).await?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?));
        let process = serve(bench, part, address, &broker.url()).await?;
        side.push(&load::measure(load, address, process.pid()).await.with_context(|| part.to_owned())?);
    }
    let broker = broker(bench, case).await?;
    figures.raw.push(raw::publishes(&broker.url(), case.connections, case.bytes, bench.time).await?);
    Ok(())
}

async fn broker(bench: &Bench, case: &Case) -> anyhow::Result<Server> {
    let binary = servers::locate(&NATS, &servers::shared_services()).await?;
    let data = tempfile::Builder::new().prefix("nats-").tempdir_in(bench.folder.path())?.keep();
    let options =
        nats::Options { data: Some(data), sync_always: case.sync_always, ..nats::Options::default() };
    nats::start(&bench.launcher, &binary, options).await
}

/// Starts a gateway and waits until it stores webhooks.
async fn serve(bench: &Bench, part: &str, address: SocketAddr, broker: &str) -> anyhow::Result<Process> {
    let command = bench.launcher.service(part, bench.folder.path().join(format!("{part}.log"))).clean_env();
    let command = match part {
        "gateway" => command
            .env("LISTEN_ADDR", address.to_string())
            .env("ADMIN_ADDR", "127.0.0.1:0")
            .env("NATS_URL", broker),
        _ => command.args(["--listen", &address.to_string(), "--nats-url", broker]),
    };
    let mut process = bench.launcher.spawn(&command).await?;
    process.until(READY, async || load::is_answered(address).await).await?;
    Ok(process)
}
