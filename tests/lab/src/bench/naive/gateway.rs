//! The naive gateway: publishes each webhook alone, waits for the acknowledgement, and answers 200. It uses
//! the headers and ids of the real gateway, and checks nothing.

use std::{convert::Infallible, net::SocketAddr};

use aftercall_common::contract::streams::{self, subject};
use aftercall_ingest::storage::message;
use async_nats::jetstream;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::bench::raw;

/// Serves until the process is killed.
pub(crate) async fn serve(listen: SocketAddr, nats_url: &str) -> anyhow::Result<()> {
    let context = jetstream::new(async_nats::connect(nats_url).await?);
    streams::ensure(&context, 1).await?;
    let listener = TcpListener::bind(listen).await?;
    let connections = TaskTracker::new();
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let context = context.clone();
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, context.clone()));
            http1::Builder::new().serve_connection(TokioIo::new(socket), service).await
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    context: jetstream::Context,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let stored = store(request, context).await;
    let (status, body) = match stored {
        Ok(sequence) => (StatusCode::OK, format!(r#"{{"accepted":true,"sequence":{sequence}}}"#)),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    };
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    Ok(response)
}

async fn store(request: Request<Incoming>, context: jetstream::Context) -> anyhow::Result<u64> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let id = message::webhook_id(&path, std::slice::from_ref(&body)).to_string();
    let ack = context.publish_with_headers(subject::ELEVENLABS_CALL_STATUS, raw::headers(&id), body);
    Ok(ack.await?.await?.sequence)
}
