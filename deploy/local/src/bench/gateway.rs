//! The gateway: webhooks answered per second, next to its naive twin and to raw publishes.

use anyhow::Context as _;

use super::{
    Bench,
    load::{self, Load, Outcome},
    measure::Series,
    raw,
    stack::{self, Side},
    table::{Row, Table},
};
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
    ours: Answers,
    twin: Answers,
    raw: Series,
}

#[derive(Default)]
struct Answers {
    rate: Series,
    p50: Series,
    p99: Series,
    cpu: Series,
    resident: Series,
}

impl Answers {
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
    let title = "Gateway: 200 once the broker has acknowledged; median (least-most)";
    Ok(if rows.is_empty() { Vec::new() } else { vec![Table::new(title, &columns, rows)] })
}

/// Ours, the twin and raw publishes, each on a fresh broker of its own.
async fn one_round(bench: &Bench, case: &Case, figures: &mut Figures) -> anyhow::Result<()> {
    let load = Load { connections: case.connections, bytes: case.bytes, time: bench.time };
    for (figures, side) in [(&mut figures.ours, Side::Ours), (&mut figures.twin, Side::Twin)] {
        let broker = stack::broker(bench, case.sync_always).await?;
        let gateway = stack::gateway(bench, side, &broker).await?;
        figures.push(
            &load::measure(load, gateway.address, gateway.process.pid())
                .await
                .with_context(|| format!("{side:?}"))?,
        );
    }
    let broker = stack::broker(bench, case.sync_always).await?;
    figures.raw.push(raw::publishes(&broker.url(), case.connections, case.bytes, bench.time).await?);
    Ok(())
}
