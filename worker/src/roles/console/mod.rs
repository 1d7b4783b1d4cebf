//! The console: a web page for people who want to see what becomes of calls, and to mend what went wrong.
//!
//! Everything is made by the server: HTML by templates, plots as SVG. Pages work without scripts; with
//! them they are kept up to date by server-sent events. It starts before the servers behind it answer,
//! and says on every page which of them does not.

mod assets;
mod audio;
mod auth;
mod backoff;
mod broadcast;
mod broker;
mod cache;
mod call;
mod calls;
mod chart;
mod csrf;
mod dead_letters;
mod filter;
mod format;
mod login;
mod overview;
mod page;
mod redriven;
mod routes;
mod session;
mod sse;
mod streams;
mod test_call;
mod timeline;
mod transcript;

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
    process::broker::is_connected,
};
use anyhow::Context as _;
use axum::http::Request;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_service::Service as _;

use self::{
    auth::Access,
    backoff::Source,
    broadcast::{Health, Live, News},
    broker::Samples,
    cache::{FiguresCache, Reasons},
    streams::Streams,
};
use crate::{Context, config::Config, elevenlabs::ElevenLabs, store::views::Views};

/// Viewers and whatever else connects.
const LIMITS: Limits = Limits {
    connections: 2048,
    header_timeout: Duration::from_secs(30),
    linger: Duration::ZERO,
    drain: Duration::from_secs(2),
};
/// Pause between two looks at what may change by itself.
const LOOK: Duration = Duration::from_secs(1);

/// What every page is made from.
pub struct Console {
    context: Arc<Context>,
    api: Option<ElevenLabs>,
    views: Views,
    access: Access,
    numbers: Numbers,
    live: Live,
    streams: Streams,
    mongodb: AtomicBool,
    broker: Samples,
    reasons: Reasons,
    figures: FiguresCache,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Console {
    /// Which servers answer.
    fn health(&self) -> Health {
        Health { mongodb: self.mongodb.load(Ordering::Relaxed), nats: is_connected(&self.context.nats) }
    }

    /// Looks after what changes without anybody telling.
    async fn look_after(&self) {
        let mut told = self.health();
        for n in 0_u64.. {
            let answers = self.views.ping().await.is_ok();
            self.mongodb.store(answers, Ordering::Relaxed);
            let health = self.health();
            if health != told {
                told = health;
                self.live.tell(News::Health(health));
            }
            if health.nats
                && let Some(letters) = self.broker.look_for_letters(&self.context.jetstream).await
            {
                self.live.tell(News::Letters(letters));
            }
            if n.is_multiple_of(broker::EVERY.as_secs()) {
                self.broker.look(&self.context.jetstream).await;
                self.live.tell(News::Tick);
            }
            if self.stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
                return;
            }
        }
    }
}

/// Binds the console's socket.
pub async fn bind(config: &Config) -> anyhow::Result<TcpListener> {
    let address = config.console_addr;
    TcpListener::bind(address).await.with_context(|| format!("CONSOLE_ADDR: cannot listen on {address}"))
}

/// Serves the console on `listener` until `stop`.
///
/// # Errors
/// A database URI that cannot be used.
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
        live: Live::default(),
        streams: Streams::default(),
        // Until the first look says otherwise: a page asked for meanwhile waits rather than lies.
        mongodb: AtomicBool::new(true),
        broker: Samples::default(),
        reasons: Reasons::default(),
        figures: FiguresCache::default(),
        tasks: TaskTracker::new(),
        context: context.clone(),
        api,
        stop: stop.clone(),
    });
    console.tasks.spawn({
        let console = console.clone();
        async move { console.look_after().await }
    });
    console.tasks.spawn({
        let console = console.clone();
        async move { console.live.run(&console.views, console.numbers, &console.stop).await }
    });
    let router = routes::router(console.clone());
    tracing::info!(address = ?listener.local_addr().ok(), "console");
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
        tracing::warn!("work of the console cut off");
    }
    console.views.clone().shutdown().await;
    Ok(())
}
