//! `cargo lab bench growth`: cost of an event by the number of stored calls, and cost of a webhook by the
//! number of messages in the stream.
//!
//! All sizes use the same broker and database. The stored calls or messages grow from size to size; each
//! measurement sends new events.

mod calls;
mod messages;
mod plot;
mod series;

use std::path::PathBuf;

use anyhow::Context as _;

use self::series::{Growth, case};
use super::{
    context::Bench,
    table::{Table, Target},
};

/// Largest sizes, and a file for the plot.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Benchmark growth")]
#[group(id = "growth")]
pub struct Options {
    /// Largest number of stored calls; measured at every power of ten from 10,000
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(i64::from(calls::SMALLEST)..))]
    most_calls: u32,
    /// Largest number of messages in the stream; measured at every power of ten from 1,000
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(i64::from(messages::SMALLEST)..))]
    most_messages: u32,
    /// Draw the processor time by size, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// Measures the growth of calls and of messages.
pub(super) async fn run(bench: &Bench, options: &Options) -> anyhow::Result<(Vec<Table>, Vec<Target>)> {
    let mut growths = Vec::new();
    let call_counts = sizes(bench, calls::NAME, calls::SMALLEST, options.most_calls);
    if !call_counts.is_empty() {
        growths.push(calls::measure(bench, &call_counts).await?);
    }
    let message_counts = sizes(bench, messages::NAME, messages::SMALLEST, options.most_messages);
    if !message_counts.is_empty() {
        growths.push(messages::measure(bench, &message_counts).await?);
    }
    if let Some(file) = &options.plot {
        let charts: Vec<_> = growths.iter().map(Growth::chart).collect();
        plot::write(file, &charts).with_context(|| format!("cannot draw {}", file.display()))?;
    }
    let targets = growths.iter().filter_map(Growth::target).collect();
    Ok((growths.into_iter().map(Growth::table).collect(), targets))
}

/// The powers of ten to measure, from `smallest` to `largest`.
fn sizes(bench: &Bench, name: &str, smallest: u32, largest: u32) -> Vec<u32> {
    std::iter::successors(Some(smallest), |size| size.checked_mul(10))
        .take_while(|&size| size <= largest)
        .filter(|size| case(*size, name).contains(&bench.only))
        .collect()
}
