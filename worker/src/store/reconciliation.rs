//! What reconciliation asks of the store, and its own memory: the collection `reconciliation`.

use std::{collections::HashMap, time::Duration};

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::{
    Collection,
    bson::{Document, doc},
    error::{Error, ErrorKind},
    options::ReturnDocument,
};

use super::{SERVER_TIME, Store, StoreError, document::bson_date};
use crate::domain::{
    call::Status,
    event::{ConversationId, PlacementId},
    reconciliation::StoredConversation,
    time::after,
};

const MEMORY: &str = "reconciliation";
const DUPLICATE_KEY: i32 = 11_000;

impl Store {
    /// What is stored of these conversations.
    pub async fn known(
        &self,
        ids: &[&ConversationId],
    ) -> Result<HashMap<ConversationId, StoredConversation>, StoreError> {
        let ids: Vec<_> = ids.iter().map(|id| id.as_str()).collect();
        let filter = doc! { "conversationId": { "$in": ids } };
        let fields = doc! { "_id": 0, "conversationId": 1, "status": 1, "_placementId": 1 };
        let calls = self.calls.clone();
        let found: Vec<Document> = self
            .run(async move {
                calls.find(filter).projection(fields).max_time(SERVER_TIME).await?.try_collect().await
            })
            .await?;
        let entry = |document: Document| {
            let id = ConversationId::new(document.get_str("conversationId").ok()?).ok()?;
            let status = document.get_str("status").ok().and_then(Status::from_word);
            Some((id, StoredConversation { status, has_placement: document.contains_key("_placementId") }))
        };
        Ok(found.into_iter().filter_map(entry).collect())
    }

    /// Conversations of calls that are not finished, and of which was last heard between `from` and
    /// `to`; the latest come first.
    pub async fn unfinished(
        &self,
        from: Timestamp,
        to: Timestamp,
        most: i64,
    ) -> Result<Vec<ConversationId>, StoreError> {
        let words: Vec<_> =
            Status::ALL.into_iter().filter(|status| !status.is_finished()).map(Status::as_str).collect();
        let filter = doc! {
            "status": { "$in": words },
            "updatedAt": { "$gt": bson_date(from), "$lt": bson_date(to) },
            "conversationId": { "$exists": true },
        };
        let calls = self.calls.clone();
        let found: Vec<Document> = self
            .run(async move {
                let found = calls.find(filter).projection(doc! { "_id": 0, "conversationId": 1 });
                found
                    .sort(doc! { "updatedAt": -1 })
                    .limit(most)
                    .max_time(SERVER_TIME)
                    .await?
                    .try_collect()
                    .await
            })
            .await?;
        let ids =
            found.iter().filter_map(|call| ConversationId::new(call.get_str("conversationId").ok()?).ok());
        Ok(ids.collect())
    }

    /// Gives up a placement that ElevenLabs knows nothing of.
    pub async fn give_up_placement(&self, id: &PlacementId, now: Timestamp) -> Result<(), StoreError> {
        let status = Status::InitiationFailed;
        let filter = doc! {
            "_placementId": id.as_str(), "_placement.open": true, "conversationId": { "$exists": false },
        };
        let event_id = format!("placement:{}:given-up", id.as_str());
        let update = doc! {
            "$set": {
                "status": status.as_str(), "statusUpdatedAt": bson_date(now), "updatedAt": bson_date(now),
                "failureReason": "ElevenLabs knows no such call", "_placement.state": "refused",
                "_status": { "rank": status.rank(), "eventId": &event_id },
            },
            "$push": { "history": { "eventId": event_id, "eventType": "placement.given_up",
                "status": status.as_str(), "origin": "reconciliation", "at": bson_date(now) } },
            "$unset": { "_placement.open": "" },
        };
        let calls = self.calls.clone();
        self.run(async move { calls.update_one(filter, update).await }).await.map(drop)
    }

    /// When the last complete pass ended its window; `None` before the first.
    pub async fn last_pass(&self) -> Result<Option<Timestamp>, StoreError> {
        let memory = self.memory();
        let found = self.run(async move { memory.find_one(doc! { "_id": "pass" }).await }).await?;
        Ok(found.and_then(|found| {
            let date = found.get_datetime("lastComplete").ok()?;
            Timestamp::from_millisecond(date.timestamp_millis()).ok()
        }))
    }

    /// Takes, or keeps, the right to make a pass for `time`; whether `owner` has it.
    pub async fn lease_pass(&self, owner: &str, now: Timestamp, time: Duration) -> Result<bool, StoreError> {
        let filter = doc! { "_id": "pass", "$or": [
            { "owner": owner }, { "leaseUntil": { "$exists": false } }, { "leaseUntil": { "$lt": bson_date(now) } },
        ] };
        let update = doc! { "$set": { "owner": owner, "leaseUntil": bson_date(after(now, time)) } };
        let memory = self.memory();
        self.run(async move {
            let taken = memory.find_one_and_update(filter, update).upsert(true);
            match taken.return_document(ReturnDocument::After).await {
                Ok(_) => Ok(true),
                Err(error) if is_duplicate(&error) => Ok(false), // Somebody else has it.
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Gives the right back; `complete` is the end of the window that was covered wholly.
    pub async fn end_pass(&self, owner: &str, complete: Option<Timestamp>) -> Result<(), StoreError> {
        let mut update = doc! { "$unset": { "leaseUntil": "", "owner": "" } };
        if let Some(complete) = complete {
            update.insert("$max", doc! { "lastComplete": bson_date(complete) });
        }
        let (memory, filter) = (self.memory(), doc! { "_id": "pass", "owner": owner });
        self.run(async move { memory.update_one(filter, update).await }).await.map(drop)
    }

    fn memory(&self) -> Collection<Document> {
        self.database.collection(MEMORY)
    }
}

fn is_duplicate(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(error) if error.code == DUPLICATE_KEY)
}
