//! The limit of the broker: plain publishes of the same messages, without HTTP and without a gateway.

use std::time::Duration;

use aftercall_common::contract::streams::{self, subject};
use anyhow::Context as _;
use async_nats::{HeaderMap, header::NATS_MESSAGE_ID, jetstream};
use bytes::Bytes;

use super::load;

/// Publishes per second by `concurrency` tasks, each of which waits for its acknowledgement.
pub async fn publishes(url: &str, concurrency: usize, bytes: usize, time: Duration) -> anyhow::Result<f64> {
    let context = jetstream::new(async_nats::connect(url).await.context("cannot connect to the broker")?);
    streams::ensure(&context, 1).await?;
    let body = Bytes::from(vec![b'x'; bytes]);
    load::run_concurrently(concurrency, time, move |n| publish(context.clone(), n, body.clone())).await
}

async fn publish(context: jetstream::Context, n: u64, body: Bytes) -> anyhow::Result<()> {
    let subject = subject::ELEVENLABS_CALL_STATUS;
    context.publish_with_headers(subject, headers(&format!("{n:064x}")), body).await?.await?;
    Ok(())
}

/// The headers of a webhook that a gateway has stored.
pub fn headers(id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, id);
    headers.insert(streams::header::RECEIVED_AT, "2026-01-01T00:00:00.000000Z");
    headers.insert(streams::header::SOURCE_IP, "127.0.0.1");
    headers.insert(streams::header::SIGNATURE, "absent");
    headers.insert(streams::header::CONTENT_TYPE, "application/json");
    headers
}
