//! The byte stream below hyper: keeps the first bytes of a connection, and holds back hyper's own refusals.
//!
//! hyper answers a head that it cannot read with a status line and an empty body. Nothing in its interface
//! changes that, so such an answer is recognised here and not sent; the connection then sends a problem.
//!
//! Invariant: a byte that a handler answered is never held back. An answer counts as hyper's own only if it is
//! written while no request is being answered and every earlier answer has left.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::waiting::Place;

/// Bytes kept of the start of a connection, until its first request is read.
const MAX_OPENING: usize = 2048;

/// A connection's byte stream.
pub(super) struct Guarded<S> {
    socket: S,
    place: Arc<Place>,
    /// The first bytes, until the first request is read.
    opening: Vec<u8>,
    /// Number of requests whose answers were flushed completely.
    flushed: u64,
    /// Status of the answer that was held back.
    refused: Option<u16>,
}

impl<S> Guarded<S> {
    pub(super) fn new(socket: S, place: Arc<Place>) -> Self {
        Self { socket, place, opening: Vec::new(), flushed: 0, refused: None }
    }

    /// The stream, the first bytes unless a request was read, and the status that was held back.
    pub(super) fn into_parts(self) -> (S, Vec<u8>, Option<u16>) {
        (self.socket, self.opening, self.refused)
    }

    /// Whether no request is being answered, and every answer has left.
    pub(super) fn is_answered(&self) -> bool {
        self.place.waits() && self.place.served() == self.flushed
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.place.served() > 0 {
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
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        if self.place.waits() {
            self.flushed = self.place.served();
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

/// The status of an answer that begins with `bytes`, if it is one of those that hyper gives by itself.
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

    use super::{super::waiting::Waiting, *};

    #[tokio::test]
    async fn only_what_no_handler_answered_is_held_back() {
        let (inside, mut outside) = tokio::io::duplex(1024);
        let place = Arc::new(Arc::new(Waiting::default()).join());
        let mut guarded = Guarded::new(inside, place.clone());
        let bad = b"HTTP/1.1 400 Bad Request\r\n\r\n";

        place.work();
        guarded.write_all(bad).await.unwrap(); // A handler's answer, while it is being made.
        guarded.flush().await.unwrap();
        place.wait();
        guarded.write_all(bad).await.unwrap(); // Its end.
        guarded.flush().await.unwrap();
        guarded.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        guarded.write_all(bad).await.unwrap(); // hyper's own.
        guarded.write_all(b"and what comes after it").await.unwrap();
        guarded.shutdown().await.unwrap();
        let (inside, _, refused) = guarded.into_parts();
        assert_eq!(refused, Some(400));
        drop(inside);
        let mut sent = Vec::new();
        outside.read_to_end(&mut sent).await.unwrap();
        assert_eq!(sent, [&bad[..], bad, b"HTTP/1.1 200 OK\r\n\r\n"].concat());
    }

    #[tokio::test]
    async fn the_first_bytes_are_kept_until_there_is_a_request() {
        let (inside, mut outside) = tokio::io::duplex(8192);
        let place = Arc::new(Arc::new(Waiting::default()).join());
        let mut guarded = Guarded::new(inside, place.clone());
        outside.write_all(&[b'x'; 5000]).await.unwrap();
        let mut buffer = [0; 5000];
        guarded.read_exact(&mut buffer).await.unwrap();
        assert_eq!(guarded.opening, [b'x'; MAX_OPENING]);
        place.work();
        outside.write_all(b"more").await.unwrap();
        guarded.read_exact(&mut buffer[..4]).await.unwrap();
        assert!(guarded.opening.capacity() == 0, "nothing is kept once requests come");
    }
}
