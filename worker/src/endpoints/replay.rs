//! Sends messages to endpoints again.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::ReplayError;
use crate::{
    Context,
    broker::delivery_jobs::{DeliveryJob, MessageStream, enqueue_delivery},
    store::DeliveryRecord,
};

/// Jobs that are published at the same time.
const MAX_PUBLISHING: usize = 32;

/// Publishes a job for each of these deliveries, except for those to endpoints that do not exist any more. A worker with
/// the role `deliver` then sends it, with a new schedule of attempts. Returns the number of jobs.
///
/// # Errors
/// See [`ReplayError`]. Some of the jobs may be published.
pub async fn replay(context: &Context, deliveries: &[DeliveryRecord]) -> Result<usize, ReplayError> {
    let deliveries = sendable(context, deliveries).await?;
    let jobs: Vec<_> = deliveries.iter().copied().map(job).collect::<Result<_, _>>()?;
    let count = jobs.len();
    let jetstream = &context.jetstream;
    let published = jobs
        .into_iter()
        .map(|job| async move { enqueue_delivery(jetstream, &job).await.map_err(ReplayError::Broker) });
    stream::iter(published).buffer_unordered(MAX_PUBLISHING).try_collect::<()>().await?;
    Ok(count)
}

/// The deliveries among these to endpoints that exist.
///
/// # Errors
/// [`ReplayError::Store`]
pub async fn sendable<'a>(
    context: &Context,
    deliveries: &'a [DeliveryRecord],
) -> Result<Vec<&'a DeliveryRecord>, ReplayError> {
    let known = context.store.endpoint_ids().await?;
    Ok(deliveries.iter().filter(|record| known.contains(&record.delivery.endpoint)).collect())
}

fn job(record: &DeliveryRecord) -> Result<DeliveryJob, ReplayError> {
    let delivery = &record.delivery;
    let stream = MessageStream::parse(&delivery.stream)
        .ok_or_else(|| ReplayError::UnknownStream(delivery.id.clone()))?;
    Ok(DeliveryJob {
        endpoint: delivery.endpoint.clone(),
        stream,
        sequence: delivery.sequence,
        message_id: delivery.message_id.clone(),
        attempts: 0,
    })
}
