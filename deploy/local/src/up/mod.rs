//! `cargo local up`: starts everything, says where it is, stays until Ctrl-C, stops everything.
//!
//! Checks come before the first child. Whatever goes wrong after that, every child goes: in order
//! where we still can, else by its guard.

mod addresses;
mod behaviour;
mod logs;
mod stack;
mod summary;

use std::{net::SocketAddr, pin::pin, time::Duration};

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

pub use self::behaviour::Behaviour;
use self::{logs::Logs, stack::Stack};
use crate::{config::Config, process::TAIL_LINES, progress::Progress, running::Data};

/// Pause between two looks at logs and processes.
const TICK: Duration = Duration::from_millis(100);

/// Where everything listens.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Address for webhooks
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address for the gateway's health and metrics
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9080")]
    gateway_admin: SocketAddr,
    /// Address for the first worker's health and metrics
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9081")]
    worker_admin: SocketAddr,
    /// Address for the console
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9082")]
    console: SocketAddr,
    /// How many workers to run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=32))]
    workers: u8,
    #[command(flatten)]
    behaviour: Behaviour,
}

/// Runs everything until Ctrl-C, SIGTERM, or the end of a part.
pub async fn run(data: &Data, options: Options) -> anyhow::Result<()> {
    let config = Config::from_env()?;
    let stop = aftercall_common::process::shutdown::on_signal().context("cannot watch for Ctrl-C")?;
    let _owned = data.acquire()?;
    addresses::check(&options)?;
    data.remove_running();

    let progress = Progress::new();
    let started = stop.run_until_cancelled(Stack::start(data, &options, &config, &progress)).await;
    progress.finish();
    let Some(started) = started else {
        eprintln!("stopped before everything had started");
        return Ok(());
    };
    let mut stack = started?;
    data.write_running(stack.running())?;
    print!("{}", summary::text(data, stack.running(), options.listen));
    let mut logs = Logs::follow(stack.services());
    let ended = watch(&mut stack, &mut logs, &stop).await;
    data.remove_running();
    eprintln!("stopping …");
    shut_down(&mut stack, &mut logs).await;
    eprintln!("stopped");
    ended
}

/// Shows the logs until `stop`. A part that ends before is an error.
async fn watch(stack: &mut Stack, logs: &mut Logs, stop: &CancellationToken) -> anyhow::Result<()> {
    while stop.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some() {
        logs.show();
        if let Some(process) = stack.ended() {
            logs.show();
            bail!("{} has ended; its log ends with:\n{}", process.name(), process.log_tail(TAIL_LINES));
        }
    }
    Ok(())
}

async fn shut_down(stack: &mut Stack, logs: &mut Logs) {
    let mut stopping = pin!(stack.stop());
    while tokio::time::timeout(TICK, stopping.as_mut()).await.is_err() {
        logs.show();
    }
    logs.show();
}
