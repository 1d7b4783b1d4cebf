//! The command line of the gateway.
//!
//! A failed start prints one line on standard error, which names the variable to change. The exit status
//! tells a supervisor whether another try can succeed.

use std::{
    ffi::OsString,
    io,
    net::{self, SocketAddr},
    process::ExitCode,
};

use aftercall_common::process::{
    admin, cli,
    config::{ConfigError, EXIT_CONFIG},
    shutdown, telemetry,
};
use clap::Parser;
use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
};

use crate::{Config, RunError, process::inherited_socket};

/// Aftercall's gateway: takes webhooks in, stores them durably, answers 200.
///
/// Configured by environment variables; deploy/CONFIGURATION.md lists them.
#[derive(Debug, Parser)]
#[command(name = "aftercall-ingest", version)]
struct Cli {
    /// Check the configuration, print it without secrets, and exit.
    #[arg(long)]
    check: bool,
    /// Ask the gateway that runs with this configuration whether it is ready, and exit with 0 if so.
    #[arg(long, conflicts_with = "check")]
    healthcheck: bool,
}

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{variable}: cannot listen on {address}: {source}")]
    Bind { variable: &'static str, address: SocketAddr, source: io::Error },
    #[error("LISTEN_FDS: the socket from the supervisor cannot be used: {0}")]
    Inherit(io::Error),
    #[error("not ready: {0}")]
    Unhealthy(String),
    #[error("cannot start: {0}")]
    Process(io::Error),
    #[error(transparent)]
    Run(#[from] RunError),
}

impl StartError {
    /// 78 if an operator has to change something before the next try; 1 if another try may succeed.
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_)
            | Self::Run(
                RunError::Config(_)
                | RunError::Broker(_)
                | RunError::Stream(_)
                | RunError::Spool(_)
                | RunError::Traces(_),
            ) => ExitCode::from(EXIT_CONFIG),
            Self::Bind { .. }
            | Self::Inherit(_)
            | Self::Unhealthy(_)
            | Self::Process(_)
            | Self::Run(RunError::Signal(_)) => ExitCode::FAILURE,
        }
    }
}

/// Runs the gateway as a process: arguments in, exit status out.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli: Cli = match cli::parse(args) {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    match start(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aftercall-ingest: {error}");
            error.exit_code()
        }
    }
}

fn start(cli: &Cli) -> Result<(), StartError> {
    let config = Config::from_env()?;
    if cli.check {
        println!("{config}\n{}configuration is valid", config.policy);
        return Ok(());
    }
    if cli.healthcheck {
        let answer = runtime()?.block_on(admin::probe(config.admin_addr)).map_err(StartError::Unhealthy)?;
        println!("{answer}");
        return Ok(());
    }
    let inherited = inherited_socket::take().map_err(StartError::Inherit)?;
    telemetry::init(config.log_format, config.rust_log.as_deref());
    runtime()?.block_on(serve(config, inherited))
}

/// One thread can handle as many webhooks as a broker can store. Tasks on one thread do not have to wake
/// other threads.
fn runtime() -> Result<Runtime, StartError> {
    runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Process)
}

async fn serve(config: Config, inherited: Option<net::TcpListener>) -> Result<(), StartError> {
    let stop = shutdown::on_signal().map_err(StartError::Process)?;
    let is_inherited = inherited.is_some();
    let listener = match inherited {
        Some(listener) => TcpListener::from_std(listener).map_err(StartError::Inherit)?,
        None => bind("LISTEN_ADDR", config.listen_addr).await?,
    };
    let admin_listener = bind("ADMIN_ADDR", config.admin_addr).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        // The bound addresses: if the configured port is 0, the system chooses the port.
        listen = listener.local_addr().ok().map(tracing::field::display),
        inherited = is_inherited,
        admin = admin_listener.local_addr().ok().map(tracing::field::display),
        config = config.to_string().replace('\n', " "),
        policy = config.policy.to_string().replace('\n', " "),
        "gateway starting"
    );
    config.policy.warn();
    Ok(crate::run(config, listener, admin_listener, stop).await?)
}

async fn bind(variable: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Bind { variable, address, source })
}
