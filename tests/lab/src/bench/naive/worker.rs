//! The naive worker: for each message one `update_one` with the real worker's statement, then the
//! acknowledgement.

use aftercall_common::contract::streams::{self, consumer};
use aftercall_worker::{broker::message::StreamMessage as _, domain::call::CallPatch, ingestion, store};
use anyhow::{Context as _, anyhow};
use async_nats::jetstream::{self, consumer::PullConsumer};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use mongodb::{
    Client,
    bson::Document,
    options::{Acknowledgment, CollectionOptions, WriteConcern},
};

/// Processes messages until the process is killed.
pub(crate) async fn consume(nats_url: &str, mongodb_uri: &str, database: &str) -> anyhow::Result<()> {
    let context = jetstream::new(async_nats::connect(nats_url).await?);
    streams::ensure(&context, 1).await?;
    let concern = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
    let options = CollectionOptions::builder().write_concern(concern).build();
    let database = Client::with_uri_str(mongodb_uri).await?.database(database);
    let calls = database.collection_with_options::<Document>("agent_calls", options);
    let consumer: PullConsumer =
        context.get_consumer_from_stream(consumer::STATUS, streams::WEBHOOKS).await?;
    let mut messages = consumer.stream().group(consumer::WORKERS).messages().await?;
    loop {
        let message = messages.next().await.context("the stream ended")??;
        let event =
            ingestion::read(&message, &message.payload()).map_err(|cause| anyhow!(cause.reason.label()))?;
        let statement = store::statement(&CallPatch::from(event), Timestamp::now())
            .map_err(|(reason, _)| anyhow!(reason.label()))?;
        let statement = Document::try_from(statement)?;
        let stages = statement.get_array("u")?.iter().filter_map(|stage| stage.as_document().cloned());
        let filter = statement.get_document("q")?.clone();
        calls.update_one(filter, stages.collect::<Vec<_>>()).upsert(true).await?;
        message.ack().await.map_err(|error| anyhow!(error))?;
    }
}
