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
    http::{Limits, PerSource, Server},
    phone_numbers::Numbers,
};
use anyhow::Context as _;
use axum::http::Request;
use prometheus_client::metrics::counter::Counter;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_service::Service as _;

use super::{
    access::{
        auth::Access, backoff::Source, named::Peer, number_searches::NumberSearches,
        stream_limits::StreamLimits,
    },
    live::{
        broadcast::{Broadcast, Update},
        broker_samples::{self, BrokerSamples},
        call_updates,
        choices::ChoicesCache,
        figures::FiguresCache,
        letter_work::LetterWork,
    },
    pages::export::MAX_EXPORTS,
    routes,
    state::Console,
};
use crate::{
    Context,
    config::Config,
    dead_letters::IndexedLetters,
    elevenlabs::ElevenLabs,
    store::views::{Reader, Views},
};

/// Limits of the listener. It serves viewers only, never webhooks.
const LIMITS: Limits = Limits {
    connections: 2048,
    header_timeout: Duration::from_secs(30),
    linger: Duration::ZERO,
    drain: Duration::from_secs(2),
};
/// Most connections of one source, except for trusted proxies: half of all, so that nobody locks out the others.
const MAX_PER_SOURCE: usize = LIMITS.connections / 2;
/// Interval at which servers and dead letters are checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Interval at which the index of the dead letters is updated.
const INDEX_INTERVAL: Duration = Duration::from_secs(2);

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
        views: Views::new(config, context.metrics.clone(), Reader::Console).await?,
        access: Access::new(config, context.metrics.clone()),
        numbers: Numbers::shown(config.console_show_numbers),
        broadcast: Broadcast::default(),
        stream_limits: StreamLimits::default(),
        number_searches: NumberSearches::default(),
        // Before the first ping, MongoDB counts as available. A page that is requested earlier then waits for
        // MongoDB, and does not report an outage.
        mongodb: AtomicBool::new(true),
        broker: BrokerSamples::default(),
        letters: IndexedLetters::default(),
        letter_work: LetterWork::default(),
        choices: ChoicesCache::default(),
        figures: FiguresCache::default(),
        periods: FiguresCache::default(),
        batches: FiguresCache::default(),
        exports: Arc::new(Semaphore::new(MAX_EXPORTS)),
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
            console.stop.run_until_cancelled(Box::pin(index_dead_letters(&console))).await;
        }
    });
    console.tasks.spawn({
        let console = console.clone();
        async move {
            call_updates::run(&console.broadcast, &console.views, console.numbers, &console.stop).await;
        }
    });
    let router = routes::router(console.clone());
    tracing::info!(address = ?listener.local_addr().ok(), "console is listening");
    let proxies = context.config.console_trusted_proxies.clone();
    let is_proxy = move |peer| proxies.contains(peer);
    let sources = PerSource::new(MAX_PER_SOURCE, is_proxy, Counter::default());
    let server = Server { sources: Some(sources), ..Server::plain(listener, LIMITS) };
    server
        .serve(stop, move |peer: SocketAddr, mut request: Request<_>| {
            let source = Source::new(peer.ip(), request.headers());
            request.extensions_mut().insert(source);
            request.extensions_mut().insert(Peer(peer.ip()));
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

/// Keeps the index of the dead letters up to date.
async fn index_dead_letters(console: &Console) {
    loop {
        // While work removes dead letters from the index itself, the counts of the stream are ahead or behind.
        let rescans = !console.letter_work.progress().is_some_and(|progress| progress.is_running());
        if console.health().nats
            && let Err(error) = console.letters.update(&console.context.jetstream, rescans).await
        {
            tracing::debug!(%error, "the dead letters were not indexed");
        }
        tokio::time::sleep(INDEX_INTERVAL).await;
    }
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
        if health.nats {
            console.count_dead_letters().await;
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
