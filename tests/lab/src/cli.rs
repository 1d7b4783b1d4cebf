//! The command line of `cargo lab`.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, process::ExitCode};

use aftercall_common::process::cli;
use aftercall_local::{caller::Caller, data_folder::DataFolder};
use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::{bench, chaos, rolling};

/// Experiments with Aftercall on this machine.
#[derive(Debug, Parser)]
#[command(name = "cargo lab", bin_name = "cargo lab", version, disable_help_subcommand = true)]
struct Cli {
    /// Folder for data, logs and downloaded servers [default: .aftercall in the workspace]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Inject every fault in turn under load, and check that nothing is lost or wrong
    Chaos(chaos::Options),
    /// Measure throughput and latency, next to the limits of broker and database and to a naive version
    Bench(bench::Options),
    /// Replace every gateway and every worker under load, and check that no request fails
    Rolling(rolling::Options),
    /// The naive gateway of `bench`
    #[command(hide = true)]
    NaiveGateway {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        nats_url: String,
    },
    /// The naive worker of `bench`
    #[command(hide = true)]
    NaiveWorker {
        #[arg(long)]
        nats_url: String,
        #[arg(long)]
        mongodb_uri: String,
        #[arg(long)]
        database: String,
    },
}

/// Parses `args` and runs the command.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let cli: Cli = match cli::parse(args) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    run(cli).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let data = DataFolder::new(cli.data, Caller::Cargo);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let code = runtime.block_on(async {
        match cli.command {
            Command::Chaos(options) => chaos::command(&data, options).await,
            Command::Bench(options) => bench::command(&data, options).await,
            Command::Rolling(options) => rolling::command(&data, options).await,
            Command::NaiveGateway { listen, nats_url } => {
                bench::naive::gateway::serve(listen, &nats_url).await.map(|()| ExitCode::SUCCESS)
            }
            Command::NaiveWorker { nats_url, mongodb_uri, database } => {
                let consuming = bench::naive::worker::consume(&nats_url, &mongodb_uri, &database);
                consuming.await.map(|()| ExitCode::SUCCESS)
            }
        }
    });
    // Background tasks hold nothing that has to be finished.
    runtime.shutdown_background();
    code
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
