//! Endpoints and deliveries, for the pages of the console.

use std::collections::HashSet;

use super::connection::{SERVER_TIME, Views};
use crate::{
    domain::delivery::{Endpoint, EndpointId},
    store::{
        deliveries::{self, DeliveryFilter, DeliveryRecord},
        delivery_figures::{self, DeliveryFigures, MAX_COUNTED},
        endpoints,
        error::StoreError,
    },
};

/// Deliveries on one page.
const PAGE: usize = 50;

/// A page of deliveries, the latest first.
#[derive(Clone, Debug, Default)]
pub struct DeliveryPage {
    /// The deliveries.
    pub records: Vec<DeliveryRecord>,
    /// Whether more deliveries match.
    pub more: bool,
}

impl Views {
    /// All endpoints, the oldest first.
    pub async fn endpoints(&self) -> Result<Vec<Endpoint>, StoreError> {
        let found = self.ask(endpoints::all(self.store.endpoints_collection(), SERVER_TIME)).await?;
        Ok(found.iter().filter_map(endpoints::from_document).collect())
    }

    /// The ids of all endpoints, with those that this version cannot read.
    pub async fn endpoint_ids(&self) -> Result<HashSet<String>, StoreError> {
        self.ask(endpoints::ids(self.store.endpoints_collection(), SERVER_TIME)).await
    }

    /// The endpoint `id`.
    pub async fn endpoint(&self, id: &EndpointId) -> Result<Option<Endpoint>, StoreError> {
        let found = endpoints::find(self.store.endpoints_collection(), id.clone(), SERVER_TIME);
        Ok(self.ask(found).await?.as_ref().and_then(endpoints::from_document))
    }

    /// Figures about the deliveries to each of these endpoints.
    pub async fn delivery_figures(&self, endpoints: &[Endpoint]) -> Result<Vec<DeliveryFigures>, StoreError> {
        let ids = endpoints.iter().map(|endpoint| endpoint.id.as_str().to_owned()).collect();
        let deliveries = self.store.deliveries_collection();
        self.ask(delivery_figures::of_endpoints(deliveries, ids, SERVER_TIME)).await
    }

    /// The delivery `id`.
    pub async fn delivery(&self, id: &str) -> Result<Option<DeliveryRecord>, StoreError> {
        let found = deliveries::find(self.store.deliveries_collection(), id.to_owned(), SERVER_TIME);
        Ok(self.ask(found).await?.as_ref().and_then(deliveries::read))
    }

    /// The deliveries that match, the latest first, before the delivery `before` in this order.
    pub async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        before: Option<&DeliveryRecord>,
    ) -> Result<DeliveryPage, StoreError> {
        let conditions = deliveries::conditions(filter, before);
        let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
        let found =
            self.ask(deliveries::page(self.store.deliveries_collection(), conditions, limit, SERVER_TIME));
        let mut records: Vec<_> = found.await?.iter().filter_map(deliveries::read).collect();
        let more = records.len() > PAGE;
        records.truncate(PAGE);
        Ok(DeliveryPage { records, more })
    }

    /// The number of deliveries that match. `None`: more than are counted.
    pub async fn count_deliveries(&self, filter: &DeliveryFilter) -> Result<Option<u64>, StoreError> {
        let (deliveries, conditions) =
            (self.store.deliveries_collection(), deliveries::conditions(filter, None));
        let count = self
            .ask(async move { delivery_figures::count(&deliveries, conditions, SERVER_TIME).await })
            .await?;
        Ok((count < MAX_COUNTED).then_some(count))
    }
}
