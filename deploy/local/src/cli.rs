//! The command line of `cargo local`.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, process::ExitCode};

use aftercall_common::process::cli;
use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::{
    bench, chaos,
    config::Config,
    reset, rolling,
    running::Data,
    send,
    simulator::{self, Simulator},
    up,
};

/// The whole of Aftercall on this machine.
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
    /// Start everything: NATS, MongoDB, a simulated ElevenLabs API, gateway and worker. Ctrl-C stops it
    Up(up::Options),
    /// Post realistic call traffic to what `up` runs, and check what becomes of it
    Send(send::Options),
    /// Break everything in turn under load, and see whether anything is lost or wrong
    Chaos(chaos::Options),
    /// Measure how fast it is, next to the limits of broker and database and to a naive version
    Bench(bench::Options),
    /// Replace every gateway and every worker under load, and see whether any request is lost
    Rolling(rolling::Options),
    /// Remove the data of earlier runs
    Reset(reset::Options),
    /// The gateway that `bench` compares ours with
    #[command(hide = true)]
    NaiveGateway {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        nats_url: String,
    },
    /// The worker that `bench` compares ours with
    #[command(hide = true)]
    NaiveWorker {
        #[arg(long)]
        nats_url: String,
        #[arg(long)]
        mongodb_uri: String,
        #[arg(long)]
        database: String,
    },
    /// Serve the simulated ElevenLabs API
    #[command(hide = true)]
    Simulator {
        #[arg(long)]
        listen: SocketAddr,
        /// Gateway that its webhooks go to
        #[arg(long)]
        gateway: Option<String>,
        #[command(flatten)]
        behaviour: up::Behaviour,
    },
}

/// Reads `args` and does what they say.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let cli: Cli = match cli::parse(args) {
        Ok(cli) => cli,
        Err(ended) => return ended,
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let data = Data::new(cli.data);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let code = runtime.block_on(async {
        match cli.command {
            Command::Up(options) => up::run(&data, options).await.map(|()| ExitCode::SUCCESS),
            Command::Send(options) => send::run(&data, options).await,
            Command::Chaos(options) => chaos::command(&data, options).await,
            Command::Bench(options) => bench::command(&data, options).await,
            Command::Rolling(options) => rolling::command(&data, options).await,
            Command::Reset(options) => reset::run(&data, &options).map(|()| ExitCode::SUCCESS),
            Command::NaiveGateway { listen, nats_url } => {
                bench::naive::gateway::serve(listen, &nats_url).await.map(|()| ExitCode::SUCCESS)
            }
            Command::NaiveWorker { nats_url, mongodb_uri, database } => {
                bench::naive::worker::consume(&nats_url, &mongodb_uri, &database)
                    .await
                    .map(|()| ExitCode::SUCCESS)
            }
            Command::Simulator { listen, gateway, behaviour } => {
                let options = behaviour.options(gateway.as_deref(), &Config::from_env()?);
                simulate(listen, options).await.map(|()| ExitCode::SUCCESS)
            }
        }
    });
    // Nothing that still waits in the background is worth waiting for.
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
    fn every_command_can_be_parsed() {
        Cli::command().debug_assert();
    }
}
