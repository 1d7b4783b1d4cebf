//! Endpoints of the operator's systems: the collection `endpoints`.
//!
//! The collection holds the signing secrets in plain text, because the worker has to sign with them. Everyone who can
//! read the database can read them.

use std::{collections::HashSet, time::Duration};

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::{
    Collection,
    bson::{Document, doc},
    error::Result as DriverResult,
};

use super::{
    connection::{SERVER_TIME, Store},
    convert::{bson_date, date},
    error::StoreError,
};
use crate::domain::{
    delivery::{
        Endpoint, EndpointId, EndpointUrl, Filter, Kind, Reason, Secrets, SigningSecret, State,
        endpoint::{MAX_ENDPOINTS, PAUSED_AFTER},
    },
    time::before,
};

const COLLECTION: &str = "endpoints";
/// Most documents that are read. It is more than [`MAX_ENDPOINTS`], because documents that cannot be read count too.
const MAX_READ: i64 = 1000;

impl Store {
    pub(super) fn endpoints_collection(&self) -> Collection<Document> {
        self.database.collection(COLLECTION)
    }

    /// All endpoints, the oldest first. A document that this version cannot read is left out.
    pub async fn endpoints(&self) -> Result<Vec<Endpoint>, StoreError> {
        let found = self.run(all(self.endpoints_collection(), SERVER_TIME)).await?;
        Ok(found.iter().filter_map(from_document).collect())
    }

    /// The ids of all endpoints, with those that this version cannot read.
    pub async fn endpoint_ids(&self) -> Result<HashSet<String>, StoreError> {
        self.run(ids(self.endpoints_collection(), SERVER_TIME)).await
    }

    /// The endpoint `id`. `None`: it does not exist, or this version cannot read it.
    pub async fn endpoint(&self, id: &EndpointId) -> Result<Option<Endpoint>, StoreError> {
        let found = self.run(find(self.endpoints_collection(), id.clone(), SERVER_TIME)).await?;
        Ok(found.as_ref().and_then(from_document))
    }

    /// Adds an endpoint. Returns false, and adds none, if [`MAX_ENDPOINTS`] exist.
    pub async fn add_endpoint(&self, endpoint: &Endpoint) -> Result<bool, StoreError> {
        if self.count_endpoints().await? >= MAX_ENDPOINTS as u64 {
            return Ok(false);
        }
        let (endpoints, document) = (self.endpoints_collection(), to_document(endpoint));
        self.run(async move { endpoints.insert_one(document).await }).await?;
        // Of additions at the same time the first ones stay, so that not all of them are refused.
        let first = self.endpoints().await?.into_iter().take(MAX_ENDPOINTS);
        if first.into_iter().any(|stored| stored.id == endpoint.id) {
            return Ok(true);
        }
        self.remove_endpoint(&endpoint.id).await?;
        Ok(false)
    }

    async fn count_endpoints(&self) -> Result<u64, StoreError> {
        let endpoints = self.endpoints_collection();
        self.run(async move { endpoints.count_documents(doc! {}).max_time(SERVER_TIME).await }).await
    }

    /// Removes an endpoint. Returns whether it existed.
    pub async fn remove_endpoint(&self, id: &EndpointId) -> Result<bool, StoreError> {
        let (endpoints, filter) = (self.endpoints_collection(), doc! { "_id": id.as_str() });
        let removed = self.run(async move { endpoints.delete_one(filter).await }).await?;
        Ok(removed.deleted_count > 0)
    }

    /// Replaces the secrets of an endpoint if the stored ones still are `before`. Returns whether they were replaced.
    pub async fn replace_secrets(
        &self,
        id: &EndpointId,
        before: &Secrets,
        secrets: &Secrets,
    ) -> Result<bool, StoreError> {
        let filter = doc! { "_id": id.as_str(), "secrets": secrets_to_documents(before) };
        self.update_endpoint(filter, doc! { "$set": { "secrets": secrets_to_documents(secrets) } }).await
    }

    /// Sets the state of an endpoint. Returns whether the endpoint exists. Activating an endpoint also removes its
    /// `reason` and `failingSince`.
    pub async fn set_endpoint_state(&self, id: &EndpointId, state: State) -> Result<bool, StoreError> {
        let update = match state.reason() {
            Some(reason) => doc! { "$set": { "state": state.as_str(), "reason": reason } },
            None => {
                doc! { "$set": { "state": state.as_str() }, "$unset": { "reason": "", "failingSince": "" } }
            }
        };
        self.update_endpoint(doc! { "_id": id.as_str() }, update).await
    }

    /// Replaces the filter of an endpoint. Returns whether the endpoint exists.
    pub async fn set_endpoint_filter(&self, id: &EndpointId, filter: &Filter) -> Result<bool, StoreError> {
        let Filter { types, agents, batches } = filter;
        let update = doc! { "$set": { "types": types, "agents": agents, "batches": batches } };
        self.update_endpoint(doc! { "_id": id.as_str() }, update).await
    }

    /// Stops an active endpoint. Returns whether it was stopped. An endpoint that was resumed or has accepted a message
    /// meanwhile does not fail for too long any more, and stays active.
    pub async fn stop_endpoint(&self, id: &EndpointId, reason: Reason) -> Result<bool, StoreError> {
        let state = State::Stopped(reason);
        let set = doc! { "state": state.as_str(), "reason": state.reason() };
        let mut filter = doc! { "_id": id.as_str(), "state": State::Active.as_str() };
        if reason == Reason::Failing {
            let latest = bson_date(before(Timestamp::now(), PAUSED_AFTER));
            filter.insert("failingSince", doc! { "$lte": latest });
        }
        self.update_endpoint(filter, doc! { "$set": set }).await
    }

    /// Records that every attempt fails since `at`, unless a time is recorded already.
    pub async fn record_endpoint_failing(&self, id: &EndpointId, at: Timestamp) -> Result<(), StoreError> {
        let filter = doc! { "_id": id.as_str(), "failingSince": null };
        self.update_endpoint(filter, doc! { "$set": { "failingSince": bson_date(at) } }).await.map(drop)
    }

    /// Records that an attempt succeeded.
    pub async fn clear_endpoint_failing(&self, id: &EndpointId) -> Result<(), StoreError> {
        let update = doc! { "$unset": { "failingSince": "" } };
        self.update_endpoint(doc! { "_id": id.as_str() }, update).await.map(drop)
    }

    async fn update_endpoint(&self, filter: Document, update: Document) -> Result<bool, StoreError> {
        let endpoints = self.endpoints_collection();
        let updated = self.run(async move { endpoints.update_one(filter, update).await }).await?;
        Ok(updated.matched_count > 0)
    }
}

/// Reads all endpoints, the oldest first.
pub(super) async fn all(endpoints: Collection<Document>, max_time: Duration) -> DriverResult<Vec<Document>> {
    let found = endpoints.find(doc! {}).sort(doc! { "createdAt": 1, "_id": 1 }).limit(MAX_READ);
    found.max_time(max_time).await?.try_collect().await
}

/// Reads the ids of all endpoints.
pub(super) async fn ids(
    endpoints: Collection<Document>,
    max_time: Duration,
) -> DriverResult<HashSet<String>> {
    let found = endpoints.find(doc! {}).projection(doc! { "_id": 1 }).limit(MAX_READ).max_time(max_time);
    let found: Vec<Document> = found.await?.try_collect().await?;
    Ok(found.iter().filter_map(|endpoint| endpoint.get_str("_id").ok().map(str::to_owned)).collect())
}

/// Reads the endpoint `id`.
pub(super) async fn find(
    endpoints: Collection<Document>,
    id: EndpointId,
    max_time: Duration,
) -> DriverResult<Option<Document>> {
    endpoints.find_one(doc! { "_id": id.as_str() }).max_time(max_time).await
}

fn to_document(endpoint: &Endpoint) -> Document {
    let Filter { types, agents, batches } = &endpoint.filter;
    let mut document = doc! {
        "_id": endpoint.id.as_str(),
        "url": endpoint.url.as_str(),
        "kind": endpoint.kind.as_str(),
        "types": types,
        "agents": agents,
        "batches": batches,
        "secrets": secrets_to_documents(&endpoint.secrets),
        "state": endpoint.state.as_str(),
        "since": bson_date(endpoint.since),
        "createdAt": bson_date(endpoint.created_at),
    };
    if let Some(reason) = endpoint.state.reason() {
        document.insert("reason", reason);
    }
    document
}

fn secrets_to_documents(secrets: &Secrets) -> Vec<Document> {
    let secret = |(secret, end): &(SigningSecret, Option<Timestamp>)| {
        let mut document = doc! { "secret": secret.expose() };
        if let Some(end) = end {
            document.insert("validUntil", bson_date(*end));
        }
        document
    };
    secrets.0.iter().map(secret).collect()
}

pub(super) fn from_document(document: &Document) -> Option<Endpoint> {
    let text = |field: &str| document.get_str(field).ok();
    let list = |field: &str| -> Vec<String> {
        let entries = document.get_array(field).map(Vec::as_slice).unwrap_or_default();
        entries.iter().filter_map(|entry| entry.as_str().map(str::to_owned)).collect()
    };
    let secrets = document.get_array("secrets").map(Vec::as_slice).unwrap_or_default();
    let secrets = secrets.iter().filter_map(|secret| {
        let secret = secret.as_document()?;
        Some((SigningSecret::stored(secret.get_str("secret").ok()?.to_owned()), date(secret, "validUntil")))
    });
    Some(Endpoint {
        id: EndpointId::parse(text("_id")?).ok()?,
        url: EndpointUrl::parse(text("url")?).ok()?,
        kind: Kind::parse(text("kind")?)?,
        filter: Filter { types: list("types"), agents: list("agents"), batches: list("batches") },
        secrets: Secrets(secrets.collect()),
        state: State::parse(text("state")?, text("reason"))?,
        since: date(document, "since")?,
        created_at: date(document, "createdAt")?,
        failing_since: date(document, "failingSince"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::{endpoint::ID_BYTES, secret::SECRET_BYTES};

    #[test]
    fn an_endpoint_is_read_as_it_was_written() {
        let at: Timestamp = "2026-11-29T10:00:00.123Z".parse().unwrap();
        let secret = |byte| SigningSecret::new([byte; SECRET_BYTES]);
        let endpoint = Endpoint {
            id: EndpointId::new([1; ID_BYTES]),
            url: EndpointUrl::parse("https://example.com/hook?a=b").unwrap(),
            kind: Kind::Events,
            filter: Filter {
                types: vec!["call.status".to_owned()],
                agents: vec!["a".to_owned()],
                batches: vec![],
            },
            secrets: Secrets(vec![(secret(2), None), (secret(1), Some(at))]),
            state: State::Stopped(Reason::Failing),
            since: at,
            created_at: at,
            failing_since: None,
        };
        assert_eq!(from_document(&to_document(&endpoint)), Some(endpoint));
        assert_eq!(from_document(&doc! { "_id": "other" }), None);
    }
}
