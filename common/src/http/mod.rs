//! The HTTP/1.1 accept loop: bounded in connections, in those of one source, and in header time; with
//! TLS where wanted; drained at the stop.
//!
//! hyper times out nothing unless given a timer, and never a stalled body: header time is limited
//! here, body time by whoever reads a body.

pub mod client;
mod per_source;
pub mod tls;

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    header::{CONNECTION, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::server::TlsStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::per_source::PerSource;
use self::tls::Tls;

/// What most handlers answer: a body held in memory.
pub type Reply = Response<Full<Bytes>>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at a time. Further ones wait in the kernel's queue.
    pub connections: usize,
    /// Time from the opening of a connection, or from its last answer, to complete headers. A TLS
    /// handshake gets as much before that.
    pub header_timeout: Duration,
    /// Time during which everything goes on once stopped, new connections included, but that every answer
    /// closes its connection: whoever sends requests here needs as long to notice that we are not ready. An
    /// open connection gets as long once more, for a request that is on its way.
    pub linger: Duration,
    /// Time the open connections get to finish after that.
    pub drain: Duration,
}

/// Largest request head, and most a connection reads ahead.
const MAX_HEAD_BYTES: usize = 64 * 1024;
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
}

impl Server {
    /// Serves with `handler` until `stop`, lingers, then lets open connections finish their answer.
    pub async fn serve<H, F, B>(self, stop: CancellationToken, handler: H)
    where
        H: Fn(SocketAddr, Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let Self { listener, limits, sources, tls, open } = self;
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
        let connections = TaskTracker::new();
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(MAX_HEAD_BYTES);
        http.writev(false); // Answers are small: copying one behind its head costs less than two pieces.

        while let Some(slot) = close.run_until_cancelled(slots.clone().acquire_owned()).await {
            let Some(accepted) = close.run_until_cancelled(listener.accept()).await else { break };
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
            let connection =
                Connection { http: http.clone(), stop: stop.clone(), hang_up: hang_up.clone(), peer };
            let (handler, tls, open) = (handler.clone(), tls.clone(), open.clone());
            open.inc();
            connections.spawn(async move {
                match tls {
                    None => connection.serve(socket, &*handler).await,
                    Some(tls) => {
                        let socket = secure(&tls, socket, &connection.hang_up, limits.header_timeout).await;
                        if let Some(socket) = socket {
                            connection.serve(socket, &*handler).await;
                        }
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

/// The socket after its handshake; none if that failed, took too long, or is not worth waiting for.
async fn secure(
    tls: &Tls,
    socket: TcpStream,
    stop: &CancellationToken,
    longest: Duration,
) -> Option<TlsStream<TcpStream>> {
    let shaken = stop.run_until_cancelled(tokio::time::timeout(longest, tls.accept(socket))).await?;
    match shaken {
        Ok(Ok(socket)) => return Some(socket),
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake took longer than HEADER_TIMEOUT"),
    }
    None
}

/// One accepted connection.
struct Connection {
    http: http1::Builder,
    /// From then on every answer is the last of its connection.
    stop: CancellationToken,
    /// From then on no further request is waited for.
    hang_up: CancellationToken,
    peer: SocketAddr,
}

impl Connection {
    /// Answers its requests until it ends, or, once hung up, the one under way.
    async fn serve<S, H, F, B>(self, socket: S, handler: &H)
    where
        S: AsyncRead + AsyncWrite + Unpin,
        H: Fn(SocketAddr, Request<Incoming>) -> F,
        F: Future<Output = Response<B>>,
        B: Body<Error: Into<BoxError>> + 'static,
    {
        let service = service_fn(|request| {
            let reply = handler(self.peer, request);
            async {
                let mut reply = reply.await;
                if self.stop.is_cancelled() {
                    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(reply)
            }
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(socket), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.hang_up.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(peer = %self.peer, %error, "connection ended early");
        }
    }
}
