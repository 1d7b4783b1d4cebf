//! The gateway: webhooks per second, next to the naive gateway and to plain publishes.

use anyhow::Context as _;

use super::{
    context::Bench,
    launch::{self, Implementation},
    load::{self, Answers, Load},
    measure::Series,
    raw,
    table::{Row, Table},
};
/// A case: setting of the broker, connections, and size of a body.
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
    aftercall: Answers,
    naive: Answers,
    raw: Series,
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
        let Figures { aftercall, naive, raw } = figures;
        let (to_naive, to_raw, p99) = (
            aftercall.rate.ratio_to(&naive.rate),
            aftercall.rate.ratio_to(&raw),
            aftercall.p99.ratio_to(&naive.p99),
        );
        rows.push(Row {
            case: case.name(),
            figures: vec![
                aftercall.rate,
                naive.rate,
                raw,
                to_naive,
                to_raw,
                aftercall.p50,
                aftercall.p99,
                naive.p99,
                p99,
                aftercall.cpu,
                naive.cpu,
                aftercall.resident,
            ],
        });
    }
    let columns = [
        ("webhooks/s", 0),
        ("naive/s", 0),
        ("raw publishes/s", 0),
        ("/ naive", 2),
        ("/ raw", 2),
        ("p50 ms", 2),
        ("p99 ms", 2),
        ("naive p99 ms", 2),
        ("p99 / naive", 2),
        ("CPU us", 1),
        ("naive CPU us", 1),
        ("MiB", 1),
    ];
    let title = "Gateway: 200 once the broker has acknowledged; median (least-most)";
    Ok(if rows.is_empty() { Vec::new() } else { vec![Table::new(title, &columns, rows)] })
}

/// Measures Aftercall, the naive gateway and plain publishes, each with a new broker.
async fn one_round(bench: &Bench, case: &Case, figures: &mut Figures) -> anyhow::Result<()> {
    let load = Load { connections: case.connections, bytes: case.bytes, time: bench.time };
    for (figures, implementation) in
        [(&mut figures.aftercall, Implementation::Aftercall), (&mut figures.naive, Implementation::Naive)]
    {
        let broker = launch::broker(bench, case.sync_always).await?;
        let gateway = launch::gateway(bench, implementation, &broker).await?;
        figures.push(
            &load::measure(load, gateway.address, gateway.process.pid())
                .await
                .with_context(|| format!("{implementation:?}"))?,
        );
    }
    let broker = launch::broker(bench, case.sync_always).await?;
    figures.raw.push(raw::publishes(&broker.url(), case.connections, case.bytes, bench.time).await?);
    Ok(())
}
