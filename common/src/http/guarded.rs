//! The byte stream below hyper. It keeps the first bytes of a connection, and suppresses hyper's own error
//! answers.
//!
//! If hyper cannot parse a head, it answers with a status line and an empty body. No setting of hyper changes
//! that answer. The stream therefore recognizes and drops such an answer, and the connection sends a problem
//! document instead.
//!
//! A peer that takes no byte of an answer for [`STALL_TIMEOUT`] loses the connection. Otherwise such a peer
//! would hold the answer and its connection for ever.
//!
//! The stream also ends the wait for a request after the times in [`Waits`]. hyper has a single timeout for the whole
//! wait, the same for every connection. Here the wait for the first byte of a head has a timeout of its own, which
//! depends on the client.
//!
//! Invariant: an answer of a handler is never dropped. An answer counts as hyper's own only if it is written
//! while no request is being answered and every earlier answer has been flushed.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::idle::Activity;

/// Shortest idle time of a connection with an authenticated request. It is longer than the idle times of most pools
/// of HTTP clients, see [`PROXY_IDLE_TIMEOUT`].
const AUTHENTICATED_IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Shortest idle time of a connection from a trusted proxy.
///
/// The client must be the one that closes an idle connection: a request that it sends while the server closes is
/// lost, and a proxy answers it with 502, because it must not repeat a POST. Idle times of proxies: 60 s for
/// nginx and for load balancers of AWS, 90 s for Traefik, 120 s for Caddy, 600 s for load balancers of Google
/// Cloud.
const PROXY_IDLE_TIMEOUT: Duration = Duration::from_secs(650);

/// A connection is closed if its peer reads no byte of an answer for this time.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Most first bytes of a connection that are kept until the first request is read.
const MAX_OPENING_BYTES: usize = 2048;

/// How long the server waits for a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// From the first byte of a head to its last. A TLS handshake and a header of the PROXY protocol get the same time.
    pub head: Duration,
    /// Until the first byte of a head, on a new connection or after an answer.
    pub idle: Duration,
    /// The same, once the connection has had an authenticated request.
    authenticated_idle: Duration,
}

impl Waits {
    /// The waits for a client that connects directly.
    pub(super) fn for_client(head: Duration) -> Self {
        Self { head, idle: head, authenticated_idle: head.max(AUTHENTICATED_IDLE_TIMEOUT) }
    }

    /// The waits for a trusted proxy.
    pub(super) fn for_proxy(head: Duration) -> Self {
        let idle = head.max(PROXY_IDLE_TIMEOUT);
        Self { head, idle, authenticated_idle: idle }
    }
}

/// The part of the next request that an idle connection waits for, in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Awaited {
    /// The first byte of a head.
    FirstByte,
    /// The rest of a head.
    RestOfHead,
}

/// The wait for a request.
struct Wait {
    /// Number of requests before it.
    requests: u64,
    awaited: Awaited,
    end: Pin<Box<Sleep>>,
}

/// The byte stream of a connection.
pub(super) struct Guarded<S> {
    socket: S,
    activity: Arc<Activity>,
    waits: Waits,
    /// The latest wait for a request.
    wait: Option<Wait>,
    /// The first bytes, until the first request is read.
    opening: Vec<u8>,
    /// Number of requests whose answers are flushed completely.
    flushed: u64,
    /// Status of hyper's own error answer, which was dropped.
    refused: Option<u16>,
    /// End of the time for the next bytes of an answer, while the peer takes none.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    pub(super) fn new(socket: S, activity: Arc<Activity>, waits: Waits) -> Self {
        Self {
            socket,
            activity,
            waits,
            wait: None,
            opening: Vec::new(),
            flushed: 0,
            refused: None,
            stall: None,
        }
    }

    /// The stream, the first bytes (empty once a request was read), and the status of the dropped answer.
    pub(super) fn into_parts(self) -> (S, Vec<u8>, Option<u16>) {
        (self.socket, self.opening, self.refused)
    }

    /// The result of a write, or an error once the peer has taken no byte for too long.
    fn or_stalled<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(STALL_TIMEOUT)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes no bytes of the answer")))
    }

    /// The wait for the next request, after `requests` earlier ones. `awaited` is the part of it that is missing. The
    /// wait begins now if it has not begun yet.
    fn wait(&mut self, requests: u64, awaited: Awaited) -> &mut Wait {
        let time = match awaited {
            Awaited::RestOfHead => self.waits.head,
            Awaited::FirstByte if self.activity.is_trusted() => self.waits.authenticated_idle,
            Awaited::FirstByte => self.waits.idle,
        };
        let wait = self.wait.get_or_insert_with(|| Wait { requests, awaited, end: Box::pin(sleep(time)) });
        if wait.requests != requests || wait.awaited < awaited {
            (wait.requests, wait.awaited) = (requests, awaited);
            wait.end.as_mut().reset(Instant::now() + time);
        }
        wait
    }

    /// Whether no request is being answered, and every answer is flushed.
    pub(super) fn is_answered(&self) -> bool {
        self.activity.is_idle() && self.activity.requests() == self.flushed
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let requests = self.activity.requests();
        if requests > 0 {
            self.opening = Vec::new();
        }
        if !self.is_answered() {
            return Pin::new(&mut self.socket).poll_read(cx, buffer);
        }
        let before = buffer.filled().len();
        let Poll::Ready(read) = Pin::new(&mut self.socket).poll_read(cx, buffer) else {
            ready!(self.wait(requests, Awaited::FirstByte).end.as_mut().poll(cx));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no complete request in time")));
        };
        read?;
        let read = &buffer.filled()[before..];
        self.wait(requests, Awaited::RestOfHead);
        if requests == 0 {
            let room = MAX_OPENING_BYTES - self.opening.len();
            self.opening.extend_from_slice(&read[..read.len().min(room)]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.refused.is_none() && self.is_answered() {
            self.refused = refusal(bytes);
        }
        if self.refused.is_some() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.or_stalled(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        ready!(self.or_stalled(flushed, cx))?;
        if self.activity.is_idle() {
            let requests = self.activity.requests();
            self.flushed = requests;
            // After an answer, hyper need not read again, so the wait for the next request begins here.
            if self.wait(requests, Awaited::FirstByte).end.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.refused.is_some() {
            return Poll::Ready(Ok(()));
        }
        // With TLS, a shutdown writes bytes too.
        let shut = Pin::new(&mut self.socket).poll_shutdown(cx);
        self.or_stalled(shut, cx)
    }
}

/// The status of an answer that begins with `bytes`, if hyper sends it for a head that it cannot read.
fn refusal(bytes: &[u8]) -> Option<u16> {
    let status = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?.get(..3)?;
    match status {
        b"400" => Some(400),
        b"414" => Some(414),
        b"431" => Some(431),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::{super::idle::IdleConnections, *};

    const WAITS: Waits = Waits {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(20),
        authenticated_idle: Duration::from_mins(1),
    };

    #[tokio::test]
    async fn only_answers_of_hyper_itself_are_dropped() {
        let (inside, mut outside) = tokio::io::duplex(1024);
        let activity = Arc::new(Arc::new(IdleConnections::default()).join());
        let mut guarded = Guarded::new(inside, activity.clone(), WAITS);
        let bad = b"HTTP/1.1 400 Bad Request\r\n\r\n";

        activity.set_busy();
        guarded.write_all(bad).await.unwrap(); // First part of a handler's answer.
        guarded.flush().await.unwrap();
        activity.set_idle();
        guarded.write_all(bad).await.unwrap(); // Last part of that answer.
        guarded.flush().await.unwrap();
        guarded.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        guarded.write_all(bad).await.unwrap(); // hyper's own answer.
        guarded.write_all(b"and what comes after it").await.unwrap();
        guarded.shutdown().await.unwrap();
        let (inside, _, refused) = guarded.into_parts();
        assert_eq!(refused, Some(400));
        drop(inside);
        let mut sent = Vec::new();
        outside.read_to_end(&mut sent).await.unwrap();
        assert_eq!(sent, [&bad[..], bad, b"HTTP/1.1 200 OK\r\n\r\n"].concat());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_no_bytes_loses_the_connection() {
        let (inside, mut outside) = tokio::io::duplex(16);
        let activity = Arc::new(Arc::new(IdleConnections::default()).join());
        let mut guarded = Guarded::new(inside, activity.clone(), WAITS);
        activity.set_busy();
        let slow = async {
            for _ in 0..4 {
                sleep(STALL_TIMEOUT / 2).await;
                outside.read_exact(&mut [0; 16]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(guarded.write_all(&[b'x'; 80]), slow);
        written.unwrap(); // Slow, but never without a byte for so long.
        let error = guarded.write_all(&[b'x'; 16]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn first_bytes_are_kept_until_the_first_request() {
        let (inside, mut outside) = tokio::io::duplex(8192);
        let activity = Arc::new(Arc::new(IdleConnections::default()).join());
        let mut guarded = Guarded::new(inside, activity.clone(), WAITS);
        outside.write_all(&[b'x'; 5000]).await.unwrap();
        let mut buffer = [0; 5000];
        guarded.read_exact(&mut buffer).await.unwrap();
        assert_eq!(guarded.opening, [b'x'; MAX_OPENING_BYTES]);
        activity.set_busy();
        outside.write_all(b"more").await.unwrap();
        guarded.read_exact(&mut buffer[..4]).await.unwrap();
        assert!(guarded.opening.capacity() == 0, "nothing is kept once requests come");
    }

    #[tokio::test(start_paused = true)]
    async fn idle_time_depends_on_the_client_and_a_head_has_one_time_for_all_its_bytes() {
        let (inside, mut outside) = tokio::io::duplex(1024);
        let activity = Arc::new(Arc::new(IdleConnections::default()).join());
        let mut guarded = Guarded::new(inside, activity.clone(), WAITS);
        let mut byte = [0];
        let mut answer = async |is_authenticated: bool| {
            activity.set_busy();
            if is_authenticated {
                activity.mark_trusted();
            }
            activity.set_idle();
            guarded.flush().await.unwrap();
            let began = Instant::now();
            let error = guarded.read_exact(&mut byte).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            began.elapsed().as_secs()
        };
        assert_eq!((answer(false).await, answer(true).await), (20, 60));

        // Each byte of a head gets only what is left of the time.
        activity.set_busy();
        activity.set_idle();
        guarded.flush().await.unwrap();
        sleep(Duration::from_secs(30)).await;
        let began = Instant::now();
        for _ in 0..4 {
            outside.write_all(b"x").await.unwrap();
            guarded.read_exact(&mut byte).await.unwrap();
            sleep(Duration::from_secs(2)).await;
        }
        guarded.read_exact(&mut byte).await.unwrap_err();
        assert_eq!(began.elapsed().as_secs(), 10);

        // A body may take as long as it likes: this stream does not bound it.
        activity.set_busy();
        let late = async {
            sleep(Duration::from_mins(10)).await;
            outside.write_all(b"x").await.unwrap();
        };
        let (read, ()) = tokio::join!(guarded.read_exact(&mut byte), late);
        read.unwrap();
    }
}
