//! The command line of the worker, and the exit status of the process.

use std::{ffi::OsString, process::ExitCode};

use aftercall_common::{
    contract::streams::EnsureError,
    process::{admin, cli, config::EXIT_CONFIG, shutdown, telemetry},
};
use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;

use crate::{
    Config,
    commands::{
        self, dead_letters, deliveries, endpoints, export, forget, reconcile, register, replay, report,
    },
    store::StoreError,
};

#[derive(Debug, Parser)]
#[command(
    name = "aftercall-worker",
    version,
    about = "Turns stored webhooks into the true state of every call"
)]
struct Cli {
    /// Validate the configuration and exit.
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the roles until the process is stopped; the default.
    Run,
    /// Validate the configuration and exit.
    Check,
    /// Ask the worker that runs with this configuration whether it is ready; exit status 0 if so.
    Healthcheck,
    /// Create or find the webhook at ElevenLabs, bind its events, and check that it works.
    Register(register::Options),
    /// List, show, replay or drop messages that could not be processed.
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Add, list, test, pause, resume or remove the URLs that get events about calls.
    #[command(subcommand)]
    Endpoints(endpoints::Command),
    /// List, show or replay what was sent to endpoints.
    #[command(subcommand)]
    Deliveries(deliveries::Command),
    /// Apply stored webhooks again.
    Replay(replay::Options),
    /// Print statistics of calls: statuses, failures, rates, slow transcripts.
    Report(report::Options),
    /// Write calls to a file, as CSV or as JSON in lines.
    Export(export::Options),
    /// Erase the data of a person from database and broker.
    Forget(forget::Options),
    /// Find calls at ElevenLabs whose webhooks are missing, and publish the missing events.
    Reconcile(reconcile::Options),
}

/// The whole process, from arguments to exit status: 0 for success, 1 for a failure, 2 for wrong usage, 78
/// for a wrong configuration.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli: Cli = match cli::parse(args) {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(error) => return fail(&error, ExitCode::from(EXIT_CONFIG)),
    };
    let command = cli.command.unwrap_or(Command::Run);
    if cli.check || matches!(command, Command::Check) {
        return exit_status(commands::print_line(format!("{config}\nconfiguration is valid")));
    }
    // The other commands print their own results, so they log warnings only.
    let is_service = matches!(command, Command::Run);
    let filter = config.rust_log.clone().or_else(|| (!is_service).then(|| "warn".to_owned()));
    telemetry::init(config.log_format, filter.as_deref());
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => exit_status(runtime.block_on(run(config, command))),
        Err(error) => fail(&error, ExitCode::FAILURE),
    }
}

/// Runs `command` to its end.
async fn run(config: Config, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Register(options) => commands::register(config, &options).await,
        Command::DeadLetters(command) => commands::dead_letters(config, &command).await,
        Command::Endpoints(command) => commands::endpoints(config, &command).await,
        Command::Deliveries(command) => commands::deliveries(config, &command).await,
        Command::Replay(options) => commands::replay(config, &options).await,
        Command::Report(options) => commands::report(config, &options).await,
        Command::Export(options) => commands::export(config, &options).await,
        Command::Forget(options) => commands::forget(config, &options).await,
        Command::Reconcile(options) => commands::reconcile(config, &options).await,
        Command::Healthcheck => {
            let answer = admin::probe(config.admin_addr).await;
            commands::print_line(answer.map_err(|answer| anyhow::anyhow!("not ready: {answer}"))?)
        }
        Command::Run | Command::Check => Box::pin(serve(config)).await,
    }
}

/// Runs the worker until the process receives a signal to stop.
async fn serve(config: Config) -> anyhow::Result<()> {
    let stop = shutdown::on_signal()?;
    let admin = TcpListener::bind(config.admin_addr)
        .await
        .with_context(|| format!("ADMIN_ADDR: cannot listen on {}", config.admin_addr))?;
    crate::run(config, admin, stop).await
}

fn exit_status(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if is_configuration(&error) => fail(&format!("{error:#}"), ExitCode::from(EXIT_CONFIG)),
        Err(error) => fail(&format!("{error:#}"), ExitCode::FAILURE),
    }
}

/// Whether the program that reads our output has ended, as `head` does.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error: Option<&std::io::Error> = error.downcast_ref();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Whether an operator has to change a setting before the next start.
fn is_configuration(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(EnsureError::UnsafeSetting { .. }))
        || matches!(error.downcast_ref(), Some(StoreError::Standalone))
}

fn fail(error: &dyn std::fmt::Display, code: ExitCode) -> ExitCode {
    eprintln!("aftercall-worker: {error}");
    code
}
