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
    time::{Sleep, sleep},
};

use super::idle::Activity;

/// Longest time in which a peer takes no byte of an answer.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Number of first bytes that are kept until the first request is read.
const MAX_OPENING: usize = 2048;

/// The byte stream of a connection.
pub(super) struct Guarded<S> {
    socket: S,
    activity: Arc<Activity>,
    /// The first bytes, until the first request is read.
    opening: Vec<u8>,
    /// Number of requests whose answers are flushed completely.
    flushed: u64,
    /// Status of the dropped answer.
    refused: Option<u16>,
    /// End of the time for the next bytes of an answer, while the peer takes none.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    pub(super) fn new(socket: S, activity: Arc<Activity>) -> Self {
        Self { socket, activity, opening: Vec::new(), flushed: 0, refused: None, stall: None }
    }

    /// The stream, the first bytes (empty once a request was read), and the status of the dropped answer.
    pub(super) fn into_parts(self) -> (S, Vec<u8>, Option<u16>) {
        (self.socket, self.opening, self.refused)
    }

    /// The result of a write, or an error once the peer has taken no byte for too long.
    fn progressed<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(STALL_TIMEOUT)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes no bytes of the answer")))
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
        if self.activity.requests() > 0 {
            self.opening = Vec::new();
            return Pin::new(&mut self.socket).poll_read(cx, buffer);
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        let read = &buffer.filled()[before..];
        let room = MAX_OPENING - self.opening.len();
        self.opening.extend_from_slice(&read[..read.len().min(room)]);
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
        self.progressed(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        ready!(self.progressed(flushed, cx))?;
        if self.activity.is_idle() {
            self.flushed = self.activity.requests();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.refused.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// The status of an answer that begins with `bytes`, if hyper sends such answers by itself.
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

    #[tokio::test]
    async fn only_answers_of_hyper_itself_are_dropped() {
        let (inside, mut outside) = tokio::io::duplex(1024);
        let activity = Arc::new(Arc::new(IdleConnections::default()).join());
        let mut guarded = Guarded::new(inside, activity.clone());
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
        let mut guarded = Guarded::new(inside, activity.clone());
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
        let mut guarded = Guarded::new(inside, activity.clone());
        outside.write_all(&[b'x'; 5000]).await.unwrap();
        let mut buffer = [0; 5000];
        guarded.read_exact(&mut buffer).await.unwrap();
        assert_eq!(guarded.opening, [b'x'; MAX_OPENING]);
        activity.set_busy();
        outside.write_all(b"more").await.unwrap();
        guarded.read_exact(&mut buffer[..4]).await.unwrap();
        assert!(guarded.opening.capacity() == 0, "nothing is kept once requests come");
    }
}
