//! The HTTP/1.1 accept loop: bounded in connections and header time, drained at the stop.
//!
//! hyper times out nothing unless given a timer, and never a stalled body: header time is limited
//! here, body time by whoever reads a body.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What a handler answers: a body held in memory.
pub type Reply = Response<Full<Bytes>>;

/// Bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at a time. Further ones wait in the kernel's queue.
    pub connections: usize,
    /// Time from the opening of a connection, or from its last answer, to complete headers.
    pub header_timeout: Duration,
    /// Time the open connections get to finish once stopped.
    pub drain: Duration,
}

/// Largest request head, and most a connection reads ahead.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Pause after a failed accept (no file descriptors left, say): long enough not to spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves `listener` with `handler` until `stop`, then lets open connections finish their answer.
pub async fn serve<H, F>(listener: TcpListener, limits: Limits, stop: CancellationToken, handler: H)
where
    H: Fn(SocketAddr, Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let handler = Arc::new(handler);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(MAX_HEAD_BYTES);

    while let Some(slot) = stop.run_until_cancelled(slots.clone().acquire_owned()).await {
        let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else { break };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%peer, %error, "peer left before its first byte");
            continue;
        }
        let (http, stop, handler) = (http.clone(), stop.clone(), handler.clone());
        connections.spawn(async move {
            let service = service_fn(|request| {
                let reply = handler(peer, request);
                async { Ok::<_, Infallible>(reply.await) }
            });
            let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service));
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "connection ended early");
            }
            drop(slot);
        });
    }
    drop(listener); // Refuse new connections before waiting for the open ones.
    connections.close();
    if tokio::time::timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections cut off at the end of SHUTDOWN_GRACE");
    }
}
