//! The worker's command line, and how its failures leave the process.

use std::{ffi::OsString, process::ExitCode};

use aftercall_common::{
    contract::streams::EnsureError,
    process::{admin, cli, config::EXIT_CONFIG, telemetry},
};
use clap::{Parser, Subcommand};

use crate::{
    Config,
    commands::{self, dead_letters, forget, reconcile, register, replay, report},
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
    /// Do the work; the default.
    Run,
    /// Validate the configuration and exit.
    Check,
    /// Ask the worker that runs with this configuration whether it is ready; exit status 0 if so.
    Healthcheck,
    /// Create or find the webhook at ElevenLabs, bind its events, and see that it works.
    Register(register::Options),
    /// List, show, replay or drop what can never work.
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Apply stored webhooks once more.
    Replay(replay::Options),
    /// How calls go: statuses, failures, rates, slow transcripts.
    Report(report::Options),
    /// Erase a person from everything that is stored.
    Forget(forget::Options),
    /// Ask ElevenLabs for calls that no webhook told of, and make up for them.
    Reconcile(reconcile::Options),
}

/// The whole process, from arguments to exit status: 0, 1 for failures, 2 for wrong usage, 78 for a
/// wrong configuration.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli: Cli = match cli::parse(args) {
        Ok(cli) => cli,
        Err(ended) => return ended,
    };
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(error) => return fail(&error, ExitCode::from(EXIT_CONFIG)),
    };
    if cli.check || matches!(cli.command, Some(Command::Check)) {
        let shown = commands::print_line(format!("configuration is valid\n{config:#?}"));
        return end(shown);
    }
    let service = matches!(cli.command, None | Some(Command::Run));
    // A command speaks for itself; what goes wrong on the way is still said.
    let filter = config.rust_log.clone().or_else(|| (!service).then(|| "warn".to_owned()));
    telemetry::init(config.log_format, filter.as_deref());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, ExitCode::FAILURE),
    };
    let ended = runtime.block_on(async {
        match cli.command {
            Some(Command::Register(options)) => commands::register(config, &options).await,
            Some(Command::DeadLetters(command)) => commands::dead_letters(config, &command).await,
            Some(Command::Replay(options)) => commands::replay(config, &options).await,
            Some(Command::Report(options)) => commands::report(config, &options).await,
            Some(Command::Forget(options)) => commands::forget(config, &options).await,
            Some(Command::Reconcile(options)) => commands::reconcile(config, &options).await,
            Some(Command::Healthcheck) => {
                let answer = admin::probe(config.admin_addr).await;
                commands::print_line(answer.map_err(|answer| anyhow::anyhow!("not ready: {answer}"))?)
            }
            None | Some(Command::Run | Command::Check) => Box::pin(crate::start(config)).await,
        }
    });
    end(ended)
}

fn end(ended: anyhow::Result<()>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_read_enough(&error) => ExitCode::SUCCESS,
        Err(error) if is_configuration(&error) => fail(&format!("{error:#}"), ExitCode::from(EXIT_CONFIG)),
        Err(error) => fail(&format!("{error:#}"), ExitCode::FAILURE),
    }
}

/// Whether whoever reads our output has stopped reading, as `head` does.
fn is_read_enough(error: &anyhow::Error) -> bool {
    let error: Option<&std::io::Error> = error.downcast_ref();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Whether an operator has to change something before another start can go better.
fn is_configuration(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(EnsureError::Contradiction { .. }))
        || matches!(error.downcast_ref(), Some(StoreError::Standalone))
}

fn fail(error: &dyn std::fmt::Display, code: ExitCode) -> ExitCode {
    eprintln!("aftercall-worker: {error}");
    code
}
