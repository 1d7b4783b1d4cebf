//! The accept loop: admits connections within the limits, and finishes open requests when it stops.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    server::conn::http1,
};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    connection::{BoxError, Connection},
    guarded::Waits,
    idle::IdleConnections,
    per_source::{PerSource, SourcePermit},
    proxy_protocol::ProxyProtocol,
    tls::Tls,
    unreadable::Unreadable,
};

/// Largest request head in bytes, and largest read-ahead of a connection.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Interval at which idle connections are closed while a new connection waits for a slot. Closing takes time on a busy
/// machine, so a shorter interval would close several connections although one is enough.
const EVICTION_INTERVAL: Duration = Duration::from_millis(50);
/// Pause after a failed accept, for example without free file descriptors, so that the loop does not spin.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Limits of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum number of open connections. At the limit, the connection that has been idle longest is closed
    /// to admit a new one. While no connection is idle, new ones wait.
    pub connections: usize,
    /// Time for the first byte of a connection, and time for a complete request head after the first byte or
    /// after the previous answer. A TLS handshake gets the same time in addition. Trusted proxies and
    /// connections with an authenticated request may be idle for longer after an answer.
    pub header_timeout: Duration,
    /// After the stop, the server accepts connections for this time, and every answer closes its connection. Load
    /// balancers need the time to notice that the process is not ready. Then new connections are refused, and open ones
    /// may send requests for the same time again.
    pub linger: Duration,
    /// Time for the last requests after these two times. A stop takes at most twice `linger`, and `drain`.
    pub drain: Duration,
}

/// A bound listener and its settings.
pub struct Server {
    /// The bound listener.
    pub listener: TcpListener,
    /// Limits of the listener.
    pub limits: Limits,
    /// Limit on the connections of one source. `None`: no such limit.
    pub sources: Option<Arc<PerSource>>,
    /// TLS for all connections. `None`: plain HTTP.
    pub tls: Option<Tls>,
    /// Gauge of open connections.
    pub open: Gauge,
    /// Counter of idle connections that were closed to admit new ones.
    pub displaced: Counter,
    /// Peers that send a header of the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// Counts and logs connections without a valid request.
    pub unreadable: Arc<Unreadable>,
}

/// Everything that all connections of a server share.
struct Shared<H> {
    handler: H,
    http: http1::Builder,
    header_timeout: Duration,
    sources: Option<Arc<PerSource>>,
    tls: Option<Tls>,
    open: Gauge,
    /// Once cancelled, every answer closes its connection.
    stop: CancellationToken,
    /// Once cancelled, connections do not wait for further requests.
    hang_up: CancellationToken,
    unreadable: Arc<Unreadable>,
}

/// The permits of an admitted connection, released when dropped, also if its handler panics.
struct Admission {
    _slot: OwnedSemaphorePermit,
    source: Option<SourcePermit>,
    _open: Open,
}

/// Counts a connection as open until it is dropped.
struct Open(Gauge);

impl Open {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Server {
    /// A server with plain HTTP, without a limit per source and without metrics.
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

    /// Serves requests with `handler` until `stop`, then stops as described in [`Limits`].
    pub async fn serve<H, F, B>(self, stop: CancellationToken, handler: H)
    where
        H: Fn(SocketAddr, Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let Self { listener, limits, sources, tls, open, displaced, proxy_protocol, unreadable } = self;
        // `close`: accept no more connections. `hang_up`: wait for no further requests.
        let (close, hang_up) = (CancellationToken::new(), CancellationToken::new());
        // Nobody waits for this task: it ends by itself.
        let timer = TaskTracker::new();
        timer.spawn(linger(limits.linger, stop.clone(), close.clone(), hang_up.clone()));
        let slots = Arc::new(Semaphore::new(limits.connections));
        let idle = Arc::new(IdleConnections::default());
        let connections = TaskTracker::new();
        let http = http_builder();
        let header_timeout = limits.header_timeout;
        let shared =
            Arc::new(Shared { handler, http, header_timeout, sources, tls, open, stop, hang_up, unreadable });

        while let Some(accepted) = close.run_until_cancelled(accept(&listener)).await {
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                    continue;
                }
            };
            let source = match &shared.sources {
                Some(sources) => match sources.admit(peer.ip()) {
                    Some(permit) => Some(permit),
                    None => continue, // Closed without an answer, because the limit must save that cost.
                },
                None => None,
            };
            if let Err(error) = socket.set_nodelay(true) {
                tracing::debug!(%peer, %error, "cannot set TCP_NODELAY; the peer may have closed the connection");
                continue;
            }
            let Some(slot) = close.run_until_cancelled(admit(&slots, &idle, &displaced)).await else { break };
            let admission = Admission { _slot: slot, source, _open: Open::new(&shared.open) };
            let sends_header = proxy_protocol.is_expected_from(peer.ip());
            connections.spawn(shared.clone().run(socket, peer, sends_header, &idle, admission));
        }
        drop(listener); // New connections are refused while the loop waits for the open ones.
        connections.close();
        if tokio::time::timeout(limits.linger + limits.drain, connections.wait()).await.is_err() {
            tracing::warn!(
                open = connections.len(),
                "the time to finish is over; open connections end with the process"
            );
        }
    }
}

impl<H> Shared<H> {
    /// The task that serves a connection.
    fn run<F, B>(
        self: Arc<Self>,
        socket: TcpStream,
        peer: SocketAddr,
        sends_header: bool,
        idle: &Arc<IdleConnections>,
        admission: Admission,
    ) -> impl Future<Output = ()> + use<H, F, B>
    where
        H: Fn(SocketAddr, Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        // After a header of the PROXY protocol, the bytes come from the client and not from the proxy.
        let is_trusted_proxy =
            !sends_header && admission.source.as_ref().is_some_and(SourcePermit::is_exempt);
        let waits = if is_trusted_proxy { Waits::for_proxy } else { Waits::for_client }(self.header_timeout);
        let connection = Connection {
            http: self.http.clone(),
            stop: self.stop.clone(),
            hang_up: self.hang_up.clone(),
            activity: Arc::new(idle.join()),
            waits,
            peer,
            unreadable: self.unreadable.clone(),
        };
        let tls = self.tls.clone();
        async move {
            if sends_header {
                // Boxed, so that connections without a proxy do not need the memory for it.
                let sources = self.sources.clone();
                let run = connection.run_proxied(socket, tls, &self.handler, sources);
                Box::pin(run).await;
            } else {
                connection.run(socket, tls, &self.handler).await;
            }
            drop(admission);
        }
    }
}

/// Accepts the next connection.
///
/// The socket may be shared with other processes, and one of them may have made it blocking. `accept` would then
/// block every task of this thread, so the socket is made non-blocking again first.
async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    SockRef::from(listener).set_nonblocking(true)?;
    listener.accept().await
}

fn http_builder() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.max_buf_size(MAX_HEAD_BYTES);
    http.writev(false); // Answers are small: copying one to its head costs less than two writes.
    http
}

/// After `stop`, waits for `time`, cancels `close`, waits again, and cancels `hang_up`.
async fn linger(
    time: Duration,
    stop: CancellationToken,
    close: CancellationToken,
    hang_up: CancellationToken,
) {
    stop.cancelled().await;
    tokio::time::sleep(time).await;
    close.cancel();
    tokio::time::sleep(time).await;
    hang_up.cancel();
}

/// Waits for a slot for a new connection. If none is free, closes the connection that has been idle longest.
async fn admit(slots: &Arc<Semaphore>, idle: &IdleConnections, displaced: &Counter) -> OwnedSemaphorePermit {
    loop {
        if let Ok(slot) = slots.clone().try_acquire_owned() {
            return slot;
        }
        if idle.evict_longest() {
            displaced.inc();
        }
        let freed = slots.clone().acquire_owned();
        if let Ok(Ok(slot)) = tokio::time::timeout(EVICTION_INTERVAL, freed).await {
            return slot;
        }
    }
}
