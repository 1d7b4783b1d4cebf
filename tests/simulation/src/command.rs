//! The command line.

use std::{
    io::IsTerminal as _,
    process::ExitCode,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::run::simulate;

/// Simulates gateway and worker with models of broker, database and provider.
#[derive(Debug, Parser)]
struct Options {
    /// Simulate only this seed, and print what happens in it
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Number of seeds to simulate
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    seeds: u64,
    /// First seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u64,
}

/// Does what the command line says.
pub fn command() -> ExitCode {
    let options = Options::parse();
    if let Some(seed) = options.seed {
        let report = simulate(seed, true);
        println!("{report}");
        return if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let failed = simulate_all(options.first, options.seeds);
    println!("{} seeds, {failed} failed", options.seeds);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Simulates `count` seeds, starting with `first`, on all cores. Returns the number of seeds that failed.
fn simulate_all(first: u64, count: u64) -> usize {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}  {per_sec}  {eta}");
    let bar = ProgressBar::with_draw_target(Some(count), target);
    let bar = bar.with_style(style.expect("the template is valid"));
    let (next, failed) = (AtomicU64::new(first), AtomicUsize::new(0));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            if let Some(violation) = simulate(seed, false).violations.first() {
                failed.fetch_add(1, Ordering::Relaxed);
                bar.suspend(|| println!("seed {seed}: {violation}"));
            }
            bar.inc(1);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    bar.finish_and_clear();
    failed.load(Ordering::Relaxed)
}
