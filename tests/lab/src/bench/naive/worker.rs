//! The naive worker: for each message one `update_one` of the fields that it brings, then the acknowledgement. It does not
//! compare events, so the last one prevails.

use aftercall_common::contract::streams::{self, consumer};
use aftercall_worker::{
    broker::message::StreamMessage as _,
    domain::call::CallPatch,
    ingestion,
    store::{self, Key},
};
use anyhow::{Context as _, anyhow};
use async_nats::jetstream::{self, consumer::PullConsumer};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use mongodb::{
    Client,
    bson::{Document, doc},
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
        let (filter, update) = plain_update(&CallPatch::from(event))?;
        calls.update_one(filter, update).upsert(true).await?;
        message.ack().await.map_err(|error| anyhow!(error))?;
    }
}

/// Filter and update that replace the fields which `patch` brings, and add its event to the history.
pub(in crate::bench) fn plain_update(patch: &CallPatch) -> anyhow::Result<(Document, Document)> {
    let key = Key::of(patch).context("the patch names no call")?;
    let fields =
        store::new_document(patch, Timestamp::now()).map_err(|(reason, _)| anyhow!(reason.label()))?;
    let mut fields = Document::try_from(fields)?;
    let history = fields.remove("history").context("an event has a history")?;
    Ok((key.filter(), doc! { "$set": fields, "$push": { "history": { "$each": history } } }))
}
