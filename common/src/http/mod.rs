//! The HTTP/1.1 accept loop: bounded in connections, in those of one source, and in header time; with
//! TLS where wanted; drained at the stop. Where there is no room, who waits for a request makes it.
//!
//! hyper times out nothing unless given a timer, and never a stalled body: header time is limited
//! here, body time by whoever reads a body.

pub mod client;
mod per_source;
pub mod tls;
mod waiting;

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    header::{CONNECTION, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::server::TlsStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::per_source::PerSource;
use self::{
    tls::Tls,
    waiting::{Place, Waiting},
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

/// Largest request head, and most a connection reads ahead.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Longest a newcomer waits for the place of one connection before another is asked, too. On a busy machine
/// it takes a moment; asked too soon, many would go where one is enough.
const ROOM_RETRY: Duration = Duration::from_millis(50);
/// Time a connection that gives up its place gets for what is on its way: the end of an answer, of a head.
const LAST_WORDS: Duration = Duration::from_secs(1);
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
}

impl Server {
    /// Serves with `handler` until `stop`, lingers, then lets open connections finish their answer.
    pub async fn serve<H, F, B>(self, stop: CancellationToken, handler: H)
    where
        H: Fn(SocketAddr, Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let Self { listener, limits, sources, tls, open, displaced } = self;
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
            };
            let (handler, tls, open) = (handler.clone(), tls.clone(), open.clone());
            open.inc();
            connections.spawn(async move {
                connection.run(socket, tls, limits.header_timeout, &*handler).await;
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

/// One accepted connection.
struct Connection {
    http: http1::Builder,
    /// From then on every answer is the last of its connection.
    stop: CancellationToken,
    /// From then on no further request is waited for.
    hang_up: CancellationToken,
    place: Arc<Place>,
    peer: SocketAddr,
}

impl Connection {
    /// Waits for its first byte, secures it where wanted, and serves it.
    async fn run<H, F, B>(self, socket: TcpStream, tls: Option<Tls>, longest: Duration, handler: &H)
    where
        H: Fn(SocketAddr, Request<Incoming>) -> F,
        F: Future<Output = Response<B>>,
        B: Body<Error: Into<BoxError>> + 'static,
    {
        if !self.speaks(&socket, longest).await {
            return;
        }
        let Some(tls) = tls else { return self.serve(socket, handler).await };
        // Boxed: what has no TLS is not to have the memory for it.
        let secured = Box::pin(async {
            if let Some(socket) = self.secure(&tls, socket, longest).await {
                self.serve(socket, handler).await;
            }
        });
        secured.await;
    }

    /// Whether its first byte comes. What reads it takes memory, which one that says nothing is not to have.
    async fn speaks(&self, socket: &TcpStream, longest: Duration) -> bool {
        let mut first = [0];
        tokio::select! {
            peeked = tokio::time::timeout(longest, socket.peek(&mut first)) => matches!(peeked, Ok(Ok(1))),
            () = self.hang_up.cancelled() => false,
            () = self.place.wanted() => false,
        }
    }

    /// The socket after its handshake; none if that failed, took too long, or is not worth waiting for.
    async fn secure(&self, tls: &Tls, socket: TcpStream, longest: Duration) -> Option<TlsStream<TcpStream>> {
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(longest, tls.accept(socket)) => shaken,
            () = self.hang_up.cancelled() => return None,
            () = self.place.wanted() => return None,
        };
        match shaken {
            Ok(Ok(socket)) => return Some(socket),
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake took longer than HEADER_TIMEOUT"),
        }
        None
    }

    /// Answers its requests until it ends, or, once hung up or asked for its place, the one under way.
    async fn serve<S, H, F, B>(self, socket: S, handler: &H)
    where
        S: AsyncRead + AsyncWrite + Unpin,
        H: Fn(SocketAddr, Request<Incoming>) -> F,
        F: Future<Output = Response<B>>,
        B: Body<Error: Into<BoxError>> + 'static,
    {
        let service = service_fn(|request| {
            self.place.work();
            let reply = handler(self.peer, request);
            // Boxed: hyper sets aside for every connection what its service's future needs.
            Box::pin(async {
                let mut reply = reply.await;
                if self.stop.is_cancelled() {
                    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                // It waits again when the body is dropped, all of it being on its way.
                let answering = Answering(self.place.clone());
                Ok::<_, Infallible>(reply.map(|body| {
                    body.map_err(move |error| {
                        let _held = &answering;
                        error
                    })
                }))
            })
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(socket), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.hang_up.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = self.place.wanted() => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(LAST_WORDS, connection.as_mut()).await {
                    Ok(ended) => ended,
                    Err(_) if self.place.waits() => return,
                    Err(_) => connection.await,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(peer = %self.peer, %error, "connection ended early");
        }
    }
}

/// Held while a connection answers.
struct Answering(Arc<Place>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.wait();
    }
}
