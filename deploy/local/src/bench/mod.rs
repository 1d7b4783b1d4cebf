//! `cargo local bench`: the figures the README names, measured again on this machine.

mod console;

use std::process::ExitCode;

use clap::Subcommand;

/// What to measure.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// The console: pages with a million calls stored, live viewers, and the time to the screen
    Console(console::Options),
}

/// Measures and prints; fails where a bar is missed.
pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Console(options) => console::run(options).await,
    }
}
