//! The command line of `cargo local`, and of the installed program `aftercall`.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, process::ExitCode};

use aftercall_common::process::cli;
use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use crate::{caller::Caller, config::Config, data_folder::DataFolder, reset, send, simulator::Simulator, up};

/// Runs all of Aftercall on this machine.
#[derive(Debug, Parser)]
#[command(name = "cargo local", bin_name = "cargo local", version, disable_help_subcommand = true)]
struct CargoLocal {
    #[command(flatten)]
    local: Local,
}

/// Receives the call webhooks of ElevenLabs and Twilio, and keeps the state of every call.
///
/// The services of an installation are aftercall-ingest (the gateway) and aftercall-worker.
#[derive(Debug, Parser)]
#[command(name = "aftercall", bin_name = "aftercall", version, disable_help_subcommand = true)]
struct Aftercall {
    #[command(subcommand)]
    program: Program,
}

#[derive(Debug, Subcommand)]
enum Program {
    /// Run all of Aftercall on this machine, for trying out
    #[command(disable_help_subcommand = true)]
    Local(Local),
}

#[derive(Debug, Args)]
struct Local {
    /// Folder for data, logs and downloaded servers [default: .aftercall in the workspace, or `aftercall` in
    /// the user's folder for data]
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
}

/// Serves the simulated ElevenLabs API.
#[derive(Debug, Parser)]
struct SimulatorOptions {
    /// Address on which the API listens
    #[arg(long)]
    listen: SocketAddr,
    /// Base URL of the gateway that receives the simulated webhooks
    #[arg(long)]
    gateway: Option<String>,
    #[command(flatten)]
    behaviour: up::Behaviour,
}

/// Parses `args` and runs the command.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let caller = args.first().map_or(Caller::Cargo, |program| Caller::of(program));
    let parsed = match caller {
        Caller::Cargo => cli::parse::<CargoLocal>(args).map(|cli| cli.local),
        Caller::Installed => cli::parse::<Aftercall>(args).map(|cli| match cli.program {
            Program::Local(local) => local,
        }),
    };
    match parsed {
        Ok(local) => report(run(local, caller)),
        Err(code) => code,
    }
}

/// Parses `args` and serves the simulated API until a signal.
pub fn simulator(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match cli::parse(args) {
        Ok(options) => report(simulate(&options).map(|()| ExitCode::SUCCESS)),
        Err(code) => code,
    }
}

/// Prints the error, if any, and returns the exit status.
fn report(ended: anyhow::Result<ExitCode>) -> ExitCode {
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(local: Local, caller: Caller) -> anyhow::Result<ExitCode> {
    let data = DataFolder::new(local.data, caller);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let code = runtime.block_on(async {
        match local.command {
            Command::Up(options) => up::run(&data, options).await.map(|()| ExitCode::SUCCESS),
            Command::Send(options) => send::run(&data, options).await,
            Command::Reset(options) => reset::run(&data, &options).map(|()| ExitCode::SUCCESS),
        }
    });
    // No background task has work that must be finished.
    runtime.shutdown_background();
    code
}

fn simulate(given: &SimulatorOptions) -> anyhow::Result<()> {
    let options = given.behaviour.options(given.gateway.as_deref(), &Config::from_env()?);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        let stop = aftercall_common::process::shutdown::on_signal()?;
        let simulator = Simulator::start_with(given.listen, options).await?;
        println!("simulated ElevenLabs API at {}", simulator.base_url());
        stop.cancelled().await;
        simulator.stop().await;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_definition_is_consistent() {
        CargoLocal::command().debug_assert();
        Aftercall::command().debug_assert();
    }
}
