//! The command line.

use std::{
    io::IsTerminal as _,
    process::ExitCode,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::simulate;

/// Simulates gateway and worker before models of everything else.
#[derive(Debug, Parser)]
struct Options {
    /// Only this one, and print what happens in it
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u64,
}

/// Does what the command line says.
pub fn command() -> ExitCode {
    let options = Options::parse();
    if let Some(seed) = options.seed {
        let outcome = simulate(seed, true);
        println!("{outcome}");
        return if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let failed = many(options.first, options.seeds);
    println!("{} seeds, {failed} failed", options.seeds);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Simulates `seeds` from `first` on, on all cores; how many failed.
fn many(first: u64, seeds: u64) -> usize {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}  {per_sec}  {eta}");
    let bar = ProgressBar::with_draw_target(Some(seeds), target);
    let bar = bar.with_style(style.expect("the template is valid"));
    let (next, failed) = (AtomicU64::new(first), AtomicUsize::new(0));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
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
