//! What is known about the deliveries to an endpoint: how many wait, and when the last ones succeeded and failed.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use mongodb::{
    Collection,
    bson::{Document, doc},
    error::Result as DriverResult,
};

use super::{
    convert::date,
    deliveries::{DELIVERED_AT, FAILED_AT},
};
use crate::domain::delivery::DeliveryState;

/// Deliveries are counted up to this number, because counting takes time.
pub(super) const MAX_COUNTED: u64 = 10_000;
/// Endpoints whose figures are read at the same time.
const MAX_QUERIES: usize = 4;

/// Figures about the deliveries to one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFigures {
    /// Deliveries that failed and are attempted again, at most [`Self::MAX_WAITING`].
    pub waiting: u64,
    /// When the last attempt that succeeded began.
    pub delivered_at: Option<Timestamp>,
    /// When the last attempt that failed began.
    pub failed_at: Option<Timestamp>,
}

impl DeliveryFigures {
    /// Largest number of waiting deliveries that is counted.
    pub const MAX_WAITING: u64 = MAX_COUNTED;
}

/// Reads the figures of each of these endpoints.
pub(super) async fn of_endpoints(
    deliveries: Collection<Document>,
    endpoints: Vec<String>,
    max_time: Duration,
) -> DriverResult<Vec<DeliveryFigures>> {
    let figures = endpoints.into_iter().map(|id| of_endpoint(deliveries.clone(), id, max_time));
    stream::iter(figures).buffered(MAX_QUERIES).try_collect().await
}

async fn of_endpoint(
    deliveries: Collection<Document>,
    id: String,
    max_time: Duration,
) -> DriverResult<DeliveryFigures> {
    let waiting = doc! { "endpointId": &id, "state": DeliveryState::Waiting.as_str() };
    Ok(DeliveryFigures {
        waiting: count(&deliveries, waiting, max_time).await?,
        delivered_at: latest(&deliveries, &id, DELIVERED_AT, max_time).await?,
        failed_at: latest(&deliveries, &id, FAILED_AT, max_time).await?,
    })
}

/// The number of records that match, at most [`MAX_COUNTED`].
pub(super) async fn count(
    deliveries: &Collection<Document>,
    conditions: Document,
    max_time: Duration,
) -> DriverResult<u64> {
    deliveries.count_documents(conditions).limit(MAX_COUNTED).max_time(max_time).await
}

async fn latest(
    deliveries: &Collection<Document>,
    endpoint: &str,
    field: &str,
    max_time: Duration,
) -> DriverResult<Option<Timestamp>> {
    let filter = doc! { "endpointId": endpoint, field: { "$exists": true } };
    let found = deliveries.find_one(filter).sort(doc! { field: -1 }).projection(doc! { field: 1 });
    Ok(found.max_time(max_time).await?.and_then(|record| date(&record, field)))
}
