//! The output of the benchmark.

use std::{process::ExitCode, time::Duration};

use super::{
    super::table::Target,
    options::Options,
    pages::Timed,
    viewers::{WEBHOOKS_PER_SECOND, Watched},
};

/// Target for the p95 of the first page.
const MAX_PAGE_TIME: Duration = Duration::from_millis(100);
/// Target for the p95 of the slowest list.
const MAX_LIST_TIME: Duration = Duration::from_millis(20);
/// Target for the bytes of the first page with its assets.
const MAX_BYTES: u64 = 100 * 1024;
/// Target for the memory of all viewers, in MiB.
const MAX_VIEWER_MEMORY_MIB: f64 = 50.0;
/// Target for the longest time from a webhook to a screen.
const MAX_SCREEN_TIME: Duration = Duration::from_secs(1);

/// Prints the tables. Returns success if all targets are met.
pub fn print(
    options: &Options,
    pages: &[Timed],
    lists: &[Timed; 3],
    first_page_bytes: u64,
    watched: &Watched,
) -> ExitCode {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "\n{:<52} {:>9} {:>9} {:>9}",
        format!("with {} calls stored, ms", options.calls),
        "median",
        "p95",
        "most"
    );
    for page in pages.iter().chain(lists).chain([&watched.times]) {
        println!(
            "{:<76} {:>9.1} {:>9.1} {:>9.1}",
            page.name,
            ms(page.percentile(50)),
            ms(page.percentile(95)),
            ms(page.percentile(100))
        );
    }
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let kib = |bytes: u64| bytes as f64 / 1024.0;
    let cost = watched.busy - watched.before;
    println!(
        "\nthe worker used {:.1} MiB, with {} viewers {:.1} MiB, and {:.1} MiB with {WEBHOOKS_PER_SECOND} webhooks per second\n",
        watched.before, options.viewers, watched.idle, watched.busy
    );
    let page = pages.first().map(|page| page.percentile(95)).unwrap_or_default();
    let slowest = watched.times.percentile(100);
    let list = lists[1].percentile(95);
    let targets = [
        (
            page <= MAX_PAGE_TIME,
            format!("first page in {:.1} ms (p95; target: {:.0})", ms(page), ms(MAX_PAGE_TIME)),
        ),
        (
            list <= MAX_LIST_TIME,
            format!("slowest list in {:.1} ms (p95; target: {:.0})", ms(list), ms(MAX_LIST_TIME)),
        ),
        (
            first_page_bytes <= MAX_BYTES,
            format!("{:.1} KiB transferred in all (target: {:.0})", kib(first_page_bytes), kib(MAX_BYTES)),
        ),
        (
            cost <= MAX_VIEWER_MEMORY_MIB,
            format!("{} viewers cost {cost:.1} MiB (target: {MAX_VIEWER_MEMORY_MIB:.0})", options.viewers),
        ),
        (
            slowest <= MAX_SCREEN_TIME,
            format!(
                "on the screen {:.0} ms after the webhook at most (target: {:.0})",
                ms(slowest),
                ms(MAX_SCREEN_TIME)
            ),
        ),
    ]
    .map(|(met, text)| Target { met, text });
    for target in &targets {
        println!("{target}");
    }
    if targets.iter().all(|target| target.met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
