//! The spool first: webhooks per second with `SPOOL=first`, next to the same gateway that waits for the broker, with a
//! broker that syncs before it acknowledges and with one that does not.

use std::time::{Duration, Instant};

use aftercall_local::http_client;
use anyhow::Context as _;

use super::{
    context::Bench,
    launch,
    load::{self, Answers, Load, Outcome},
    measure::Series,
    table::{Row, Table, Target},
};

/// Connections and size of a body, with the smallest accepted ratio to a gateway whose broker does not sync.
const CASES: [(usize, usize, Option<f64>); 4] =
    [(1, 300, None), (64, 300, Some(0.85)), (256, 300, Some(0.85)), (64, 20_000, Some(0.7))];
/// Largest accepted time of a lone request, compared with a gateway that waits for a broker that syncs.
const MAX_LONE: f64 = 0.7;
/// Longest time until the stream has everything after the load.
const MAX_DRAIN: Duration = Duration::from_mins(1);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// `SPOOL=first`, and a broker that syncs.
    SpoolFirst,
    /// The answer follows the acknowledgement of a broker that syncs.
    Synced,
    /// The answer follows the acknowledgement of a broker that does not sync.
    Unsynced,
}

/// Measures every case.
pub(super) async fn run(bench: &Bench) -> anyhow::Result<(Table, Vec<Target>)> {
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for (connections, bytes, wanted) in CASES {
        let case = format!("{bytes} B, {connections} connections");
        if !case.contains(&bench.only) {
            continue;
        }
        let [mut first, mut synced, mut unsynced] = [(); 3].map(|()| Answers::default());
        let mut drained = Series::default();
        for round in 1..=bench.rounds {
            bench.progress.step(&format!("spool: {case}, round {round} of {}", bench.rounds));
            for (way, answers) in
                [(Way::SpoolFirst, &mut first), (Way::Synced, &mut synced), (Way::Unsynced, &mut unsynced)]
            {
                let load = Load { connections, bytes, time: bench.time };
                let (outcome, after) = measure(bench, way, load).await.with_context(|| format!("{way:?}"))?;
                answers.push(&outcome);
                if way == Way::SpoolFirst {
                    drained.push(after.as_secs_f64());
                }
            }
        }
        let (to_unsynced, to_synced, lone) = (
            first.rate.ratio_to(&unsynced.rate),
            first.rate.ratio_to(&synced.rate),
            first.p50.ratio_to(&synced.p50),
        );
        if let Some(wanted) = wanted {
            let ratio = to_unsynced.summary().median;
            targets.push(Target {
                text: format!("{case}: {ratio:.2} of a gateway without any sync (target: {wanted})"),
                met: ratio >= wanted,
            });
        }
        if connections == 1 {
            let ratio = lone.summary().median;
            targets.push(Target {
                text: format!(
                    "a lone request takes {ratio:.2} of the time without the spool (target: {MAX_LONE})"
                ),
                met: ratio <= MAX_LONE,
            });
        }
        rows.push(Row {
            case,
            figures: vec![
                first.rate,
                synced.rate,
                unsynced.rate,
                to_synced,
                to_unsynced,
                first.p50,
                first.p99,
                synced.p50,
                synced.p99,
                first.cpu,
                drained,
            ],
        });
    }
    let columns = [
        ("spool first/s", 0),
        ("broker syncs/s", 0),
        ("no sync/s", 0),
        ("/ syncs", 2),
        ("/ no sync", 2),
        ("p50 ms", 2),
        ("p99 ms", 2),
        ("syncs p50 ms", 2),
        ("syncs p99 ms", 2),
        ("CPU us", 1),
        ("in the stream after s", 2),
    ];
    Ok((
        Table::new("Spool first: 200 once the gateway's disk has it; median (least-most)", &columns, rows),
        targets,
    ))
}

/// Measures one way, with a new broker. Returns also the time until the stream has everything.
async fn measure(bench: &Bench, way: Way, load: Load) -> anyhow::Result<(Outcome, Duration)> {
    let broker = launch::broker(bench, way != Way::Unsynced).await?;
    let folder = tempfile::Builder::new().prefix("spool-").tempdir_in(bench.folder.path())?;
    let folder = folder.path().to_str().context("the data folder has a name that is no text")?;
    let vars = [("SPOOL", "first"), ("SPOOL_DIR", folder)];
    let vars: &[_] = if way == Way::SpoolFirst { &vars } else { &[] };
    let gateway = launch::gateway_with(bench, &broker, vars).await?;
    let outcome = load::measure(load, gateway.address, gateway.process.pid()).await?;
    let (began, http) = (Instant::now(), http_client(MAX_DRAIN)?);
    while way == Way::SpoolFirst && !is_empty(&http, &gateway).await? {
        anyhow::ensure!(began.elapsed() < MAX_DRAIN, "the spool is not empty after {MAX_DRAIN:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok((outcome, began.elapsed()))
}

async fn is_empty(http: &reqwest::Client, gateway: &launch::Gateway) -> anyhow::Result<bool> {
    let metrics = http.get(format!("http://{}/metrics", gateway.admin)).send().await?.text().await?;
    Ok(metrics.contains("aftercall_spool_webhooks 0\n"))
}
