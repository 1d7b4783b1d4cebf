//! The commands of `aftercall-worker`. Each runs once, prints its result, and ends.
//!
//! Each command has a folder. Its file `options` defines the arguments.

pub mod dead_letters;
pub mod deliveries;
pub mod endpoints;
pub mod export;
pub mod forget;
pub mod reconcile;
pub mod register;
pub mod replay;
pub mod report;
mod table;
mod terminal;

use std::time::Duration;

use aftercall_common::{contract::streams, process::broker};
use anyhow::Context as _;
use prometheus_client::registry::Registry;

pub(crate) use self::terminal::print_line;
use crate::{Config, Context, Metrics, context::install_tls, elevenlabs::ElevenLabs, store::Store};

/// Longest wait for a connection to the broker.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval at which the connection is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The API of ElevenLabs.
///
/// # Errors
/// `ELEVENLABS_API_KEY` is not set or cannot be used.
fn api(config: &Config, metrics: Metrics) -> anyhow::Result<ElevenLabs> {
    install_tls();
    ElevenLabs::new(config, metrics)?.context("ELEVENLABS_API_KEY is not set")
}

/// `aftercall-worker register`.
pub async fn register(config: Config, options: &register::Options) -> anyhow::Result<()> {
    let url = config.elevenlabs_status_callback_url.clone();
    let url = url.context(
        "ELEVENLABS_STATUS_CALLBACK_URL is not set; it is the address to which ElevenLabs sends webhooks",
    )?;
    let api = api(&config, Metrics::register(&mut Registry::default()))?;
    if !options.forwards() {
        return Ok(register::run(&api, url.as_str(), &config, options, None).await?);
    }
    let (context, _) = Context::connect(config.clone(), &mut Registry::default()).await?;
    connect_broker(&context).await?;
    let ended = register::run(&api, url.as_str(), &config, options, Some(&context)).await;
    context.store.clone().shutdown().await;
    Ok(ended?)
}

/// `aftercall-worker reconcile`.
pub async fn reconcile(config: Config, options: &reconcile::Options) -> anyhow::Result<()> {
    let window = options.window(config.reconcile_rate)?;
    let (context, api) = Context::connect(config, &mut Registry::default()).await?;
    let api = api.context("ELEVENLABS_API_KEY is not set")?;
    connect_broker(&context).await?;
    let ended = reconcile::run(&context, &api, window, options.json).await;
    context.store.clone().shutdown().await;
    ended
}

/// `aftercall-worker dead-letters`.
pub async fn dead_letters(config: Config, command: &dead_letters::Command) -> anyhow::Result<()> {
    let (context, _) = Context::connect(config, &mut Registry::default()).await?;
    connect_broker(&context).await?;
    let ended = dead_letters::run(&context, command).await;
    context.store.clone().shutdown().await;
    ended
}

/// `aftercall-worker endpoints`.
pub async fn endpoints(config: Config, command: &endpoints::Command) -> anyhow::Result<()> {
    let (context, _) = Context::connect(config, &mut Registry::default()).await?;
    connect_broker(&context).await?;
    let ended = endpoints::run(&context, command).await;
    context.store.clone().shutdown().await;
    ended
}

/// `aftercall-worker deliveries`.
pub async fn deliveries(config: Config, command: &deliveries::Command) -> anyhow::Result<()> {
    let (context, _) = Context::connect(config, &mut Registry::default()).await?;
    connect_broker(&context).await?;
    let ended = deliveries::run(&context, command).await;
    context.store.clone().shutdown().await;
    ended
}

/// `aftercall-worker replay`.
pub async fn replay(config: Config, options: &replay::Options) -> anyhow::Result<()> {
    let (context, _) = Context::connect(config, &mut Registry::default()).await?;
    connect_broker(&context).await?;
    let ended = replay::run(&context, options).await;
    context.store.clone().shutdown().await;
    ended
}

/// `aftercall-worker report`. It needs no broker.
pub async fn report(config: Config, options: &report::Options) -> anyhow::Result<()> {
    install_tls();
    let metrics = Metrics::register(&mut Registry::default());
    let api = ElevenLabs::new(&config, metrics.clone())?;
    let store = Store::new(&config, metrics).await?;
    let ended = report::run(&store, api.as_ref(), options, config.console_show_numbers).await;
    store.shutdown().await;
    ended
}

/// `aftercall-worker export`. It needs no broker.
pub async fn export(config: Config, options: &export::Options) -> anyhow::Result<()> {
    install_tls();
    let store = Store::new(&config, Metrics::register(&mut Registry::default())).await?;
    let ended = export::run(&store, options, config.console_show_numbers).await;
    store.shutdown().await;
    ended
}

/// `aftercall-worker forget`.
pub async fn forget(config: Config, options: &forget::Options) -> anyhow::Result<()> {
    let (context, _) = Context::connect(config, &mut Registry::default()).await?;
    connect_broker(&context).await?;
    let ended = forget::run(&context, options).await;
    context.store.clone().shutdown().await;
    ended
}

/// Waits until the broker is connected, and creates or updates streams and consumers.
///
/// # Errors
/// The broker does not answer within [`CONNECT_TIMEOUT`], or see [`streams::ensure`].
async fn connect_broker(context: &Context) -> anyhow::Result<()> {
    let connected = async {
        while !broker::is_connected(&context.nats) {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    let waited = tokio::time::timeout(CONNECT_TIMEOUT, connected).await;
    waited.map_err(|_elapsed| anyhow::anyhow!("NATS does not answer at {}", context.config.nats_url))?;
    Ok(streams::ensure(&context.jetstream, context.config.stream_replicas.get()).await?)
}
