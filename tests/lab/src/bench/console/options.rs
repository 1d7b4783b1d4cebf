//! The command line options of the benchmark.

/// Number of calls and viewers.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Benchmark console")]
#[group(id = "console")]
pub struct Options {
    /// Stored calls
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub calls: u32,
    /// Concurrent viewers
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub viewers: usize,
}
