//! The messages of an endpoint that wait at the broker.

use async_nats::jetstream;

use super::consumers;
use crate::domain::delivery::Endpoint;

/// The number of new messages that were not sent to `endpoint` yet. They include messages that its filter will leave
/// out. `None`: no worker has served the endpoint yet, or the broker does not answer.
pub async fn backlog(jetstream: &jetstream::Context, endpoint: &Endpoint) -> Option<u64> {
    let stream = jetstream.get_stream_no_info(consumers::stream(endpoint.kind).as_str()).await.ok()?;
    let consumer = stream.consumer_info(consumers::consumer_name(&endpoint.id)).await.ok()?;
    Some(consumer.num_pending + consumer.num_ack_pending as u64)
}
