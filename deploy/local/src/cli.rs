//! The command line of `cargo local`.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, process::ExitCode};

use aftercall_common::process::cli;
use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::{
    config::Config,
    data_folder::DataFolder,
    reset, send,
    simulator::{self, Simulator},
    up,
};

/// Runs all of Aftercall on this machine.
#[derive(Debug, Parser)]
#[command(name = "cargo local", bin_name = "cargo local", version, disable_help_subcommand = true)]
struct Cli {
    /// Folder for data, logs and downloaded servers [default: .aftercall in the workspace]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start NATS, MongoDB, a simulated ElevenLabs API, the gateway and the worker. Ctrl-C stops them
    Up(up::Options),
    /// Post realistic webhooks to the gateway of `up`, and check the documents that the worker writes
    Send(send::Options),
    /// Remove the data of earlier runs
    Reset(reset::Options),
    /// Serve the simulated ElevenLabs API
    #[command(hide = true)]
    Simulator {
        #[arg(long)]
        listen: SocketAddr,
        /// Base URL of the gateway that receives its webhooks
        #[arg(long)]
        gateway: Option<String>,
        #[command(flatten)]
        behaviour: up::Behaviour,
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
    let data = DataFolder::new(cli.data);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let code = runtime.block_on(async {
        match cli.command {
            Command::Up(options) => up::run(&data, options).await.map(|()| ExitCode::SUCCESS),
            Command::Send(options) => send::run(&data, options).await,
            Command::Reset(options) => reset::run(&data, &options).map(|()| ExitCode::SUCCESS),
            Command::Simulator { listen, gateway, behaviour } => {
                let options = behaviour.options(gateway.as_deref(), &Config::from_env()?);
                simulate(listen, options).await.map(|()| ExitCode::SUCCESS)
            }
        }
    });
    // Background tasks hold nothing that has to be finished.
    runtime.shutdown_background();
    code
}

async fn simulate(listen: SocketAddr, options: simulator::Options) -> anyhow::Result<()> {
    let stop = aftercall_common::process::shutdown::on_signal()?;
    let simulator = Simulator::start_with(listen, options).await?;
    println!("simulated ElevenLabs API at {}", simulator.base_url());
    stop.cancelled().await;
    simulator.stop().await;
    Ok(())
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
