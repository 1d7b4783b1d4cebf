//! The HTTP/1.1 accept loop: bounded in connections, in those of one source, and in header time; with
//! TLS where wanted; drained at the stop. At the limit, an idle connection is closed to admit a new one.
//!
//! hyper times out nothing unless given a timer, and never a stalled body: header time is limited
//! here, body time by whoever reads a body.

pub mod client;
mod connection;
mod guarded;
mod per_source;
mod proxy_protocol;
mod source_log;
pub mod tls;
mod unreadable;
mod waiting;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    server::conn::http1,
};
use hyper_util::rt::TokioTimer;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{connection::Connection, tls::Tls, waiting::Waiting};
pub use self::{
    per_source::{PerSource, source_of},
    source_log::SourceLog,
    unreadable::{Reason, Unreadable, UnreadableLabels, compresses},
};

/// What most handlers answer: a body held in memory.
pub type Reply = Response<Full<Bytes>>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at a time. For a further one, that which has waited longest for a request is closed;
    /// while none waits, the further ones do.
    pub connections: usize,
    /// Time from the opening of a connection to its first byte, and from there, or from its last answer, to
    /// complete headers. A TLS handshake gets as much before that.
    pub header_timeout: Duration,
    /// Time during which everything goes on once stopped, new connections included, but that every answer
    /// closes its connection: whoever sends requests here needs as long to notice that we are not ready. An
    /// open connection gets as long once more, for a request that is on its way.
    pub linger: Duration,
    /// Time the open connections get to finish after that.
    pub drain: Duration,
}

/// Marks an answer, as an extension: its request was authenticated. When there is no room for a newcomer, idle
/// connections without such a request are closed first.
#[derive(Clone, Copy, Debug)]
pub struct Authenticated;

/// Which peers begin every connection with a header of the PROXY protocol. None by default.
#[derive(Clone, Default)]
pub struct ProxyProtocol(Option<Arc<dyn Fn(IpAddr) -> bool + Send + Sync>>);

impl ProxyProtocol {
    /// Those that `speaks` says. The address in their header counts as the peer's from then on; a connection of
    /// theirs without a header is refused.
    pub fn from(speaks: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(speaks)))
    }

    fn is_spoken_by(&self, peer: IpAddr) -> bool {
        self.0.as_ref().is_some_and(|speaks| speaks(peer.to_canonical()))
    }
}

impl fmt::Debug for ProxyProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProxyProtocol").field(&self.0.is_some()).finish()
    }
}

/// Largest request head, and most a connection reads ahead.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Longest a newcomer waits for the place of one connection before another is asked, too. On a busy machine
/// it takes a moment; asked too soon, many would go where one is enough.
const ROOM_RETRY: Duration = Duration::from_millis(50);
/// Pause after a failed accept (no file descriptors left, say): long enough not to spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A bound socket, and how it is served.
pub struct Server {
    /// The socket.
    pub listener: TcpListener,
    /// Its bounds.
    pub limits: Limits,
    /// What one source may hold of them. None: all.
    pub sources: Option<Arc<PerSource>>,
    /// How connections are secured. None: not at all.
    pub tls: Option<Tls>,
    /// Shows how many are open.
    pub open: Gauge,
    /// Counts those asked to make room.
    pub displaced: Counter,
    /// Who begins connections with a header of the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// Counts and logs those that bring no request.
    pub unreadable: Arc<Unreadable>,
}

impl Server {
    /// One without TLS and without bounds for a single source, whose numbers nobody reads.
    pub fn plain(listener: TcpListener, limits: Limits) -> Self {
        Self {
            listener,
            limits,
            sources: None,
            tls: None,
            open: Gauge::default(),
            displaced: Counter::default(),
            proxy_protocol: ProxyProtocol::default(),
            unreadable: Arc::default(),
        }
    }

    /// Serves with `handler` until `stop`, lingers, then lets open connections finish their answer.
    pub async fn serve<H, F, B>(self, stop: CancellationToken, handler: H)
    where
        H: Fn(SocketAddr, Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let Self { listener, limits, sources, tls, open, displaced, proxy_protocol, unreadable } = self;
        let handler = Arc::new(handler);
        let (close, hang_up) = (CancellationToken::new(), CancellationToken::new());
        let lingering = {
            let (stop, close, hang_up) = (stop.clone(), close.clone(), hang_up.clone());
            async move {
                stop.cancelled().await;
                tokio::time::sleep(limits.linger).await;
                close.cancel();
                tokio::time::sleep(limits.linger).await;
                hang_up.cancel();
            }
        };
        let timer = TaskTracker::new();
        timer.spawn(lingering);
        let slots = Arc::new(Semaphore::new(limits.connections));
        let waiting = Arc::new(Waiting::default());
        let connections = TaskTracker::new();
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(MAX_HEAD_BYTES);
        http.writev(false); // Answers are small: copying one behind its head costs less than two pieces.

        while let Some(accepted) = close.run_until_cancelled(listener.accept()).await {
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let pass = match &sources {
                Some(sources) => match sources.admit(peer.ip()) {
                    Some(pass) => Some(pass),
                    None => continue, // Closed unread: an answer would cost what the cap is to save.
                },
                None => None,
            };
            if let Err(error) = socket.set_nodelay(true) {
                tracing::debug!(%peer, %error, "peer left before its first byte");
                continue;
            }
            let Some(slot) = close.run_until_cancelled(room(&slots, &waiting, &displaced)).await else {
                break;
            };
            let connection = Connection {
                http: http.clone(),
                stop: stop.clone(),
                hang_up: hang_up.clone(),
                place: Arc::new(waiting.join()),
                peer,
                unreadable: unreadable.clone(),
            };
            let (handler, tls, open) = (handler.clone(), tls.clone(), open.clone());
            let proxied = proxy_protocol.is_spoken_by(peer.ip()).then(|| sources.clone());
            open.inc();
            connections.spawn(async move {
                let longest = limits.header_timeout;
                match proxied {
                    None => connection.run(socket, tls, longest, &*handler).await,
                    // Boxed: connections that nobody passes on are not to have the memory for it.
                    Some(sources) => {
                        Box::pin(connection.run_proxied(socket, tls, longest, &*handler, sources)).await;
                    }
                }
                open.dec();
                drop((slot, pass));
            });
        }
        drop(listener); // Refuse new connections before waiting for the open ones.
        connections.close();
        if tokio::time::timeout(limits.linger + limits.drain, connections.wait()).await.is_err() {
            tracing::warn!(open = connections.len(), "connections cut off at the end of SHUTDOWN_GRACE");
        }
    }
}

/// A place for a newcomer: a free one, or that of a connection which waits for a request.
async fn room(slots: &Arc<Semaphore>, waiting: &Waiting, displaced: &Counter) -> OwnedSemaphorePermit {
    loop {
        if let Ok(slot) = slots.clone().try_acquire_owned() {
            return slot;
        }
        if waiting.ask_longest() {
            displaced.inc();
        }
        if let Ok(Ok(slot)) = tokio::time::timeout(ROOM_RETRY, slots.clone().acquire_owned()).await {
            return slot;
        }
    }
}
