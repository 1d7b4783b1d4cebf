//! Starts and stops the console: the listener, the router, the background tasks.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aftercall_common::{
    http::{Limits, Server},
    phone_numbers::Numbers,
};
use anyhow::Context as _;
use axum::http::Request;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_service::Service as _;

use super::{
    access::{auth::Access, backoff::Source, stream_limits::StreamLimits},
    live::{
        broadcast::{Broadcast, Update},
        broker_samples::{self, BrokerSamples},
        call_updates,
        figures::FiguresCache,
        reasons::ReasonsCache,
    },
    routes,
    state::Console,
};
use crate::{Context, config::Config, elevenlabs::ElevenLabs, store::views::Views};

/// Limits of the listener. It serves viewers only, never webhooks.
const LIMITS: Limits = Limits {
    connections: 2048,
    header_timeout: Duration::from_secs(30),
    linger: Duration::ZERO,
    drain: Duration::from_secs(2),
};
/// Interval at which servers and dead letters are checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Binds the console's socket.
///
/// # Errors
/// `CONSOLE_ADDR` cannot be bound.
pub async fn bind(config: &Config) -> anyhow::Result<TcpListener> {
    let address = config.console_addr;
    TcpListener::bind(address).await.with_context(|| format!("CONSOLE_ADDR: cannot listen on {address}"))
}

/// Serves the console on `listener` until `stop`.
///
/// # Errors
/// `MONGODB_URI` cannot be used.
pub async fn run(
    context: Arc<Context>,
    api: Option<ElevenLabs>,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let config = &context.config;
    let console = Arc::new(Console {
        views: Views::new(config, context.metrics.clone()).await?,
        access: Access::new(config, context.metrics.clone()),
        numbers: Numbers::shown(config.console_show_numbers),
        broadcast: Broadcast::default(),
        stream_limits: StreamLimits::default(),
        // Before the first ping, MongoDB counts as available. A page that is requested earlier then waits for
        // MongoDB, and does not report an outage.
        mongodb: AtomicBool::new(true),
        broker: BrokerSamples::default(),
        reasons: ReasonsCache::default(),
        figures: FiguresCache::default(),
        tasks: TaskTracker::new(),
        context: context.clone(),
        api,
        stop: stop.clone(),
    });
    console.tasks.spawn({
        let console = console.clone();
        async move { check_servers(&console).await }
    });
    console.tasks.spawn({
        let console = console.clone();
        async move {
            call_updates::run(&console.broadcast, &console.views, console.numbers, &console.stop).await;
        }
    });
    let router = routes::router(console.clone());
    tracing::info!(address = ?listener.local_addr().ok(), "console is listening");
    let server = Server::plain(listener, LIMITS);
    server
        .serve(stop, move |peer: SocketAddr, mut request: Request<_>| {
            let source = Source::new(peer.ip(), request.headers());
            request.extensions_mut().insert(source);
            let answered = router.clone().call(request);
            async move { answered.await.unwrap_or_else(|never| match never {}) }
        })
        .await;
    console.tasks.close();
    if tokio::time::timeout(LIMITS.drain, console.tasks.wait()).await.is_err() {
        tracing::warn!("the console stopped before its background tasks had finished");
    }
    console.views.clone().shutdown().await;
    Ok(())
}

/// Checks servers and dead letters at intervals, and publishes the changes. MongoDB and NATS do not report
/// these changes by themselves.
async fn check_servers(console: &Console) {
    let mut published = console.health();
    for n in 0_u64.. {
        let answers = console.views.ping().await.is_ok();
        console.mongodb.store(answers, Ordering::Relaxed);
        let health = console.health();
        if health != published {
            published = health;
            console.broadcast.publish(Update::Health(health));
        }
        if health.nats
            && let Some(count) = console.broker.update_dead_letters(&console.context.jetstream).await
        {
            console.broadcast.publish(Update::DeadLetters(count));
        }
        if n.is_multiple_of(broker_samples::INTERVAL.as_secs()) {
            console.broker.take_sample(&console.context.jetstream).await;
            console.broadcast.publish(Update::Tick);
        }
        if console.stop.run_until_cancelled(tokio::time::sleep(CHECK_INTERVAL)).await.is_none() {
            return;
        }
    }
}
