//! Serves one connection: PROXY header, TLS handshake, requests, and the refusal of invalid ones.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http_body_util::BodyExt as _;
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    header::{CONNECTION, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::error::Elapsed,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{
    guarded::{Guarded, Waits},
    idle::Activity,
    per_source::PerSource,
    proxy_protocol::{self, HeaderError, Origin},
    tls::Tls,
    unreadable::{Reason, Unreadable},
};

/// Error of a response body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Extension of a response. It marks the request of the response as authenticated. Idle connections without
/// such a request are closed first to admit new ones.
#[derive(Clone, Copy, Debug)]
pub struct Authenticated;

/// Longest time for the last answer, or for the rest of a request head, before the connection closes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// An accepted connection.
pub(super) struct Connection {
    pub http: http1::Builder,
    /// Once cancelled, every answer closes its connection.
    pub stop: CancellationToken,
    /// Once cancelled, an idle connection closes, and a busy one closes after its answer.
    pub hang_up: CancellationToken,
    pub activity: Arc<Activity>,
    pub waits: Waits,
    pub peer: SocketAddr,
    pub unreadable: Arc<Unreadable>,
}

impl Connection {
    /// Reads the PROXY header, then serves the connection with the address of the client from the header.
    pub async fn run_proxied<H, F, B>(
        mut self,
        mut socket: TcpStream,
        tls: Option<Tls>,
        handler: &H,
        sources: Option<Arc<PerSource>>,
    ) where
        H: Fn(SocketAddr, Request<Incoming>) -> F,
        F: Future<Output = Response<B>>,
        B: Body<Error: Into<BoxError>> + 'static,
    {
        if self.first_byte(&socket).await.is_none() {
            return;
        }
        let Some(header) = self.within(self.waits.head, proxy_protocol::read(&mut socket)).await else {
            return;
        };
        match header {
            // A loopback address in the header means a client on the host of the proxy, not on this host.
            Ok(Ok(Origin::Client(client))) if !client.ip().to_canonical().is_loopback() => self.peer = client,
            // The proxy names no client, but the following bytes may still come from one. The address of the
            // proxy must not count for them, because its X-Forwarded-For is trusted.
            Ok(Ok(Origin::Client(_) | Origin::Peer)) => {
                self.peer = SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.peer.port()));
            }
            Ok(Err(HeaderError::Missing | HeaderError::Malformed)) => {
                return self.refuse(socket, Reason::ProxyHeaderMissing, None).await;
            }
            Ok(Err(HeaderError::Io(error))) => {
                tracing::debug!(peer = %self.peer, %error, "connection ended within its PROXY header");
                return;
            }
            Err(_) => return,
        }
        let _pass = match sources.map(|sources| sources.admit(self.peer.ip())) {
            Some(None) => return,
            pass => pass,
        };
        self.run(socket, tls, handler).await;
    }

    /// Waits for the first byte, does the TLS handshake if there is TLS, and serves requests.
    pub async fn run<H, F, B>(self, socket: TcpStream, tls: Option<Tls>, handler: &H)
    where
        H: Fn(SocketAddr, Request<Incoming>) -> F,
        F: Future<Output = Response<B>>,
        B: Body<Error: Into<BoxError>> + 'static,
    {
        let Some(first) = self.first_byte(&socket).await else { return };
        let Some(tls) = tls else { return self.serve(socket, handler).await };
        // Boxed, so that connections without TLS do not need the memory for it.
        let secured = Box::pin(async {
            // A first byte that is an upper-case letter means plain HTTP: every HTTP method begins with one,
            // and no TLS record does. The handshake below then fails with an alert.
            if first.is_ascii_uppercase() {
                self.unreadable.report(Reason::NotTls, self.peer.ip());
            }
            if let Some(socket) = self.secure(&tls, socket).await {
                self.serve(socket, handler).await;
            }
        });
        secured.await;
    }

    /// Waits for the first byte, without reading it. Buffers are allocated only after it, so that silent
    /// connections need no memory for them.
    async fn first_byte(&self, socket: &TcpStream) -> Option<u8> {
        let mut first = [0];
        let peeked = self.within(self.waits.idle, socket.peek(&mut first)).await;
        matches!(peeked, Some(Ok(Ok(1)))).then_some(first[0])
    }

    /// Runs `step` for at most `timeout`. `None`: the connection has to close.
    async fn within<T>(
        &self,
        timeout: Duration,
        step: impl Future<Output = T>,
    ) -> Option<Result<T, Elapsed>> {
        tokio::select! {
            done = tokio::time::timeout(timeout, step) => Some(done),
            () = self.hang_up.cancelled() => None,
            () = self.activity.evicted() => None,
        }
    }

    /// Does the TLS handshake. `None`: it failed, took too long, or the connection has to close.
    async fn secure(&self, tls: &Tls, socket: TcpStream) -> Option<TlsStream<TcpStream>> {
        match self.within(self.waits.head, tls.accept(socket)).await? {
            Ok(Ok(socket)) => return Some(socket),
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake took longer than HEADER_TIMEOUT"),
        }
        None
    }

    /// Answers requests until the connection ends. If it has to close, finishes the request under way first.
    async fn serve<S, H, F, B>(self, socket: S, handler: &H)
    where
        S: AsyncRead + AsyncWrite + Unpin,
        H: Fn(SocketAddr, Request<Incoming>) -> F,
        F: Future<Output = Response<B>>,
        B: Body<Error: Into<BoxError>> + 'static,
    {
        let service = service_fn(|request| {
            self.activity.set_busy();
            let reply = handler(self.peer, request);
            // Boxed, because hyper reserves the memory for the future in every connection.
            Box::pin(async {
                let mut reply = reply.await;
                if reply.extensions().get::<Authenticated>().is_some() {
                    self.activity.mark_trusted();
                }
                if self.stop.is_cancelled() {
                    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                // The connection is idle again when the body is dropped, after all of it is written.
                let busy = BusyGuard(self.activity.clone());
                Ok::<_, Infallible>(reply.map(|body| {
                    body.map_err(move |error| {
                        let _held = &busy;
                        error
                    })
                }))
            })
        });
        let guarded = Guarded::new(socket, self.activity.clone(), self.waits);
        let mut connection = self.http.serve_connection(TokioIo::new(guarded), service);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = self.hang_up.cancelled() => {
                Pin::new(&mut connection).graceful_shutdown();
                (&mut connection).await
            }
            () = self.activity.evicted() => {
                Pin::new(&mut connection).graceful_shutdown();
                match tokio::time::timeout(CLOSE_TIMEOUT, &mut connection).await {
                    Ok(ended) => ended,
                    Err(_) if self.activity.is_idle() => return,
                    Err(_) => (&mut connection).await,
                }
            }
        };
        let Err(error) = ended else { return };
        let Some((socket, reason, status)) = refusal(connection.into_parts().io.into_inner(), &error) else {
            tracing::debug!(peer = %self.peer, %error, "connection ended early");
            return;
        };
        // Boxed, so that connections with valid requests do not need the memory for it.
        Box::pin(self.refuse(socket, reason, status)).await;
    }

    /// Answers with the reason of the refusal, and closes the connection. `status` is the status of the
    /// answer that hyper would have sent.
    async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut socket: S,
        reason: Reason,
        status: Option<u16>,
    ) {
        self.unreadable.report(reason, self.peer.ip());
        let closing = async {
            socket.write_all(&reason.answer(status)).await?;
            socket.shutdown().await?;
            // Closing a socket with unread bytes resets the connection, and the peer could miss the answer.
            let mut rest = [0; 1024];
            while socket.read(&mut rest).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        if !matches!(tokio::time::timeout(CLOSE_TIMEOUT, closing).await, Ok(Ok(()))) {
            tracing::debug!(peer = %self.peer, "the peer of a refused connection did not wait for the answer");
        }
    }
}

/// The reason to refuse a connection that ended with `error`, and the status that hyper would have answered.
/// `None`: it did not end because of an invalid request.
fn refusal<S>(connection: Guarded<S>, error: &hyper::Error) -> Option<(S, Reason, Option<u16>)> {
    let is_answered = connection.is_answered();
    let (socket, opening, status) = connection.into_parts();
    let reason = match status {
        Some(status) => Some(Reason::of(&opening, status)),
        None if is_answered => parse_failure(error),
        None => None,
    };
    Some((socket, reason?, status))
}

/// The reason for a connection that ended with `error`. `None`: the error is not about the request.
fn parse_failure(error: &hyper::Error) -> Option<Reason> {
    if error.is_parse_version_h2() {
        Some(Reason::Http2)
    } else if error.is_parse_too_large() {
        Some(Reason::HeadTooLarge)
    } else {
        error.is_parse().then_some(Reason::Malformed)
    }
}

/// Marks a connection as idle when dropped.
struct BusyGuard(Arc<Activity>);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.set_idle();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use tokio::time::Instant;
    use tokio_util::task::TaskTracker;

    use super::{super::idle::IdleConnections, *};

    /// Seconds from the answer to `request` until the server closes the connection. The handler takes a second.
    async fn idle_seconds(request: &str, waits: Waits, is_authenticated: bool) -> u64 {
        let connection = Connection {
            http: http1::Builder::new(),
            stop: CancellationToken::new(),
            hang_up: CancellationToken::new(),
            activity: Arc::new(Arc::new(IdleConnections::default()).join()),
            waits,
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            unreadable: Arc::default(),
        };
        let handler = move |_, _| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut reply = Response::new(Full::new(Bytes::from(vec![b'x'; 10_000])));
            if is_authenticated {
                reply.extensions_mut().insert(Authenticated);
            }
            reply
        };
        // Smaller than the answer, so that it is not written at once.
        let (mut client, server) = tokio::io::duplex(1_000);
        // A task of its own, because hyper would read again whenever the client wakes its task.
        let tasks = TaskTracker::new();
        tasks.spawn(async move { connection.serve(server, &handler).await });
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 10_000];
        client.read_exact(&mut answer).await.unwrap();
        let answered = Instant::now();
        let closing = tokio::time::timeout(Duration::from_hours(1), client.read_to_end(&mut answer));
        closing.await.expect("the server closes the connection").unwrap();
        answered.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_are_closed_after_any_answer() {
        let head = Duration::from_secs(10);
        let (client, proxy) = (Waits::for_client(head), Waits::for_proxy(head));
        for request in ["GET / HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}"] {
            assert_eq!(idle_seconds(request, client, false).await, 10, "{request}");
            assert_eq!(idle_seconds(request, client, true).await, 75, "{request}");
            assert_eq!(idle_seconds(request, proxy, false).await, 650, "{request}");
        }
        let half = "GET / HTTP/1.1\r\n\r\nGET / HTTP";
        assert_eq!(idle_seconds(half, client, false).await, 10, "half a head");
    }
}
