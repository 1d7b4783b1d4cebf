//! The gateway: decides whether a webhook may enter, stores its bytes durably, answers 200.
//!
//! It knows no event, no status and no database. The path of a webhook:
//! [`http::gateway`] (path and method) → [`http::webhooks`] ([`admission::checks`] of the headers, by the policy in
//! force; the body by [`admission::body`]; [`admission::checks`] of signature and format) → [`storage::message`] →
//! [`storage`]: [`storage::publisher`] (group commit into `JetStream`; large bodies by [`storage::large_bodies`]),
//! failing that the [`storage::spool`] → 200. A refused request becomes a [`http::rejection`]. Questions about calls
//! go through [`http::agent_calls`] to a worker.
//!
//! What a 200 is worth with this broker: [`broker::durability`].
//!
//! The invariant of the crate: a 200 is sent only after the broker has acknowledged the bytes, or, with
//! `SPOOL_DIR`, our own disk has them.

pub mod admission;
pub mod broker;
mod cli;
pub mod config;
pub mod http;
pub mod metrics;
pub mod process;
pub mod storage;

use std::{sync::Arc, time::Duration};

use aftercall_common::{
    contract::streams::EnsureError,
    http::tls::Tls,
    process::{admin, broker::Role, config::ConfigError, shutdown, trace::Tracer},
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admission::reload::{self, ReloadablePolicy},
    broker::{durability, streams::Topology},
    http::{gateway::Gateway, label_values::label_values},
    metrics::Metrics,
    storage::{
        Storage,
        large_bodies::ClaimCheck,
        publisher::Publisher,
        spool::{self, Spool},
    },
};
pub use crate::{cli::main, config::Config};

/// Longest a broker is waited for before webhooks are taken in that it cannot store.
const READY_WAIT: Duration = Duration::from_secs(3);
/// Longest wait for the last bytes to leave for the broker, once every request is answered.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a gateway could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// What was right when the configuration was checked no longer is.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address or the credentials of the broker cannot be used at all.
    #[error("{0:#}")]
    Broker(anyhow::Error),
    /// A stream exists with settings under which accepted webhooks get lost.
    #[error(transparent)]
    Stream(EnsureError),
    /// The spool cannot be opened.
    #[error("SPOOL_DIR: {0}")]
    Spool(redb::Error),
    /// One of OpenTelemetry's own variables cannot be used.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT: {0:#}")]
    Traces(anyhow::Error),
    /// The system does not let us listen for SIGHUP.
    #[error("cannot listen for SIGHUP: {0}")]
    Signal(std::io::Error),
}

/// Serves webhooks on `listener` and health on `admin_listener` until `stop`, then drains: refuses
/// new connections, answers what it accepted within `SHUTDOWN_GRACE`, and returns.
///
/// An absent broker is not an error: requests are refused with 503 until it is back.
pub async fn run(
    config: Config,
    listener: TcpListener,
    admin_listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let client =
        config.broker().connect("aftercall-ingest", Role::Gateway).await.map_err(RunError::Broker)?;
    let tls = config.tls()?;
    let tracer = Tracer::start(
        config.otel_exporter_otlp_endpoint.as_ref(),
        "aftercall-ingest",
        env!("CARGO_PKG_VERSION"),
    )
    .map_err(RunError::Traces)?;
    let policy = ReloadablePolicy::new(config.policy.clone());
    let (metrics, registry) = Metrics::new(&label_values());
    metrics.certificate_expiry.set(tls.as_ref().map_or(0, Tls::expires));
    let stop = stop.child_token(); // A contradicting stream stops us, not whoever runs us.
    let topology = Arc::new(Topology::new(client.clone(), config.stream_replicas.get(), metrics.clone()));
    let tasks = TaskTracker::new();

    let watch = tasks.spawn({
        let (topology, stop) = (topology.clone(), stop.clone());
        async move {
            let ended = topology.keep(&stop).await;
            stop.cancel();
            ended
        }
    });
    // What accepts stops first, what stores stops when nothing accepts any more, what reports last.
    let (storing, reporting) = (CancellationToken::new(), CancellationToken::new());
    let (publisher, committer) =
        Publisher::new(client.clone(), topology.clone(), config.publish_timeout, metrics.clone());
    tasks.spawn(committer.run(storing.clone()));
    let spool = match &config.spool_dir {
        Some(folder) => {
            metrics.spool_max_bytes.set(i64::try_from(config.spool_max_bytes.get()).unwrap_or(i64::MAX));
            let spool = Spool::open(folder, config.spool_max_bytes.get(), metrics.clone());
            Some(Arc::new(spool.map_err(RunError::Spool)?))
        }
        None => None,
    };
    let claim_check = ClaimCheck::new(client.clone(), metrics.clone());
    let storage = Arc::new(Storage::new(publisher, claim_check, spool.clone(), topology.clone()));
    if let Some(spool) = spool.clone() {
        tasks.spawn(spool::replay(storage.clone(), spool, storing.clone()));
    }
    tasks.spawn(admin::serve(
        admin_listener,
        Arc::new(registry),
        topology.readiness(spool.clone(), stop.clone()),
        reporting.clone(),
    ));
    let monitors = config.nats_monitor_url.clone().unwrap_or_default();
    tasks.spawn(durability::watch(
        client.clone(),
        topology.clone(),
        monitors,
        metrics.clone(),
        storing.clone(),
    ));
    let expiry = metrics.certificate_expiry.clone();
    let reload = reload::on_hangup(config.clone(), policy.clone(), tls.clone(), expiry, storing.clone());
    tasks.spawn(reload.map_err(RunError::Signal)?);
    tasks.close();

    let server = http::server::server(&config, listener, tls, policy.clone(), &metrics);
    let gateway = Arc::new(Gateway::new(&config, policy, client.clone(), storage, metrics, tracer.clone()));
    // A socket that others have too must not be taken up before we can store what comes by it.
    topology.settled(READY_WAIT, spool.is_some(), &stop).await;
    shutdown::ready();
    server.serve(stop, move |peer, request| gateway.clone().answer(peer, request)).await;

    storing.cancel();
    let ended = watch.await;
    if !matches!(tokio::time::timeout(FLUSH_TIMEOUT, client.flush()).await, Ok(Ok(()))) {
        tracing::debug!("nothing left to flush to the broker, or no broker");
    }
    tracer.shut_down().await;
    reporting.cancel();
    tasks.wait().await;
    if let Err(error) = client.drain().await {
        tracing::debug!(%error, "the connection to the broker was gone already");
    }
    tracing::info!("stopped");
    ended.unwrap_or(Ok(())).map_err(RunError::Stream)
}
