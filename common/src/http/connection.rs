//! One connection: who opened it, how it is secured, and the requests it brings.

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
    Authenticated, BoxError, PerSource, Reason, Unreadable,
    guarded::Guarded,
    proxy_protocol::{self, HeaderError, Origin},
    tls::Tls,
    waiting::Place,
};

/// Time a connection that gives up its place gets for what is on its way: the end of an answer, of a head.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One accepted connection.
pub(super) struct Connection {
    pub http: http1::Builder,
    /// From then on every answer is the last of its connection.
    pub stop: CancellationToken,
    /// From then on no further request is waited for.
    pub hang_up: CancellationToken,
    pub place: Arc<Place>,
    pub peer: SocketAddr,
    pub unreadable: Arc<Unreadable>,
}

impl Connection {
    /// Reads who opened it, and goes on as the connection of that client.
    pub async fn run_proxied<H, F, B>(
        mut self,
        mut socket: TcpStream,
        tls: Option<Tls>,
        longest: Duration,
        handler: &H,
        sources: Option<Arc<PerSource>>,
    ) where
        H: Fn(SocketAddr, Request<Incoming>) -> F,
        F: Future<Output = Response<B>>,
        B: Body<Error: Into<BoxError>> + 'static,
    {
        if self.first_byte(&socket, longest).await.is_none() {
            return;
        }
        let Some(header) = self.within(longest, proxy_protocol::read(&mut socket)).await else { return };
        match header {
            // A proxy that names a loopback address speaks for a client of its own host, never for one of ours.
            Ok(Ok(Origin::Client(client))) if !client.ip().to_canonical().is_loopback() => self.peer = client,
            // It speaks for no client that it knows. What follows may still be a client's own bytes, so the address
            // of the proxy, whose X-Forwarded-For is believed, must not count for them.
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
        self.run(socket, tls, longest, handler).await;
    }

    /// Waits for its first byte, secures it where wanted, and serves it.
    pub async fn run<H, F, B>(self, socket: TcpStream, tls: Option<Tls>, longest: Duration, handler: &H)
    where
        H: Fn(SocketAddr, Request<Incoming>) -> F,
        F: Future<Output = Response<B>>,
        B: Body<Error: Into<BoxError>> + 'static,
    {
        let Some(first) = self.first_byte(&socket, longest).await else { return };
        let Some(tls) = tls else { return self.serve(socket, handler).await };
        // Boxed: what has no TLS is not to have the memory for it.
        let secured = Box::pin(async {
            // No record of TLS begins with a letter, and every method of HTTP does. The handshake fails, with an
            // alert: plain HTTP is not answered where TLS is promised.
            if first.is_ascii_uppercase() {
                self.unreadable.report(Reason::NotTls, self.peer.ip());
            }
            if let Some(socket) = self.secure(&tls, socket, longest).await {
                self.serve(socket, handler).await;
            }
        });
        secured.await;
    }

    /// Its first byte, which stays unread. Whatever reads it takes memory, which a connection that says nothing is
    /// not to have.
    async fn first_byte(&self, socket: &TcpStream, longest: Duration) -> Option<u8> {
        let mut first = [0];
        let peeked = self.within(longest, socket.peek(&mut first)).await;
        matches!(peeked, Some(Ok(Ok(1)))).then_some(first[0])
    }

    /// What `step` gives, unless it takes longer than `longest`; none where the connection is to end before.
    async fn within<T>(
        &self,
        longest: Duration,
        step: impl Future<Output = T>,
    ) -> Option<Result<T, Elapsed>> {
        tokio::select! {
            done = tokio::time::timeout(longest, step) => Some(done),
            () = self.hang_up.cancelled() => None,
            () = self.place.wanted() => None,
        }
    }

    /// The socket after its handshake; none if that failed, took too long, or is not worth waiting for.
    async fn secure(&self, tls: &Tls, socket: TcpStream, longest: Duration) -> Option<TlsStream<TcpStream>> {
        match self.within(longest, tls.accept(socket)).await? {
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
                if reply.extensions().get::<Authenticated>().is_some() {
                    self.place.trust();
                }
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
        let guarded = Guarded::new(socket, self.place.clone());
        let mut connection = self.http.serve_connection(TokioIo::new(guarded), service);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = self.hang_up.cancelled() => {
                Pin::new(&mut connection).graceful_shutdown();
                (&mut connection).await
            }
            () = self.place.wanted() => {
                Pin::new(&mut connection).graceful_shutdown();
                match tokio::time::timeout(LAST_WORDS, &mut connection).await {
                    Ok(ended) => ended,
                    Err(_) if self.place.waits() => return,
                    Err(_) => (&mut connection).await,
                }
            }
        };
        let Err(error) = ended else { return };
        let guarded = connection.into_parts().io.into_inner();
        let is_answered = guarded.is_answered();
        let (socket, opening, status) = guarded.into_parts();
        let reason = match status {
            None if !is_answered => None,
            Some(status) => Some(Reason::of(&opening, status)),
            None if error.is_parse_version_h2() => Some(Reason::Http2),
            None if error.is_parse_too_large() => Some(Reason::HeadTooLarge),
            None if error.is_parse() => Some(Reason::Malformed),
            None => None,
        };
        let Some(reason) = reason else {
            tracing::debug!(peer = %self.peer, %error, "connection ended early");
            return;
        };
        // Boxed: no connection that brings requests is to have the memory for it.
        Box::pin(self.refuse(socket, reason, status)).await;
    }

    /// Says why it is refused, and closes it. `status` is that of an answer which hyper would have given.
    async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut socket: S,
        reason: Reason,
        status: Option<u16>,
    ) {
        self.unreadable.report(reason, self.peer.ip());
        let farewell = async {
            socket.write_all(&reason.answer(status)).await?;
            socket.shutdown().await?;
            // A socket that is closed with unread bytes is reset, and the peer would miss the answer.
            let mut rest = [0; 1024];
            while socket.read(&mut rest).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        if !matches!(tokio::time::timeout(LAST_WORDS, farewell).await, Ok(Ok(()))) {
            tracing::debug!(peer = %self.peer, "the peer of a refused connection did not wait for the answer");
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
