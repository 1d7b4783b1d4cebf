//! The reads and writes of reconciliation: calls, and the time of the last pass.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};

use super::{
    connection::{SERVER_TIME, Store},
    convert::{bson_date, date},
    error::StoreError,
    fields,
    leases::Lease,
    revision,
};
use crate::domain::{
    call::{OutcomeClaim, Status, StatusClaim},
    conversation::{OBSERVATION, event_id},
    event::{ConversationId, PlacementId, TRANSCRIPTION},
    reconciliation::StoredConversation,
};

impl Store {
    /// The stored facts about these conversations. A conversation that is not stored has no entry.
    pub async fn known(
        &self,
        ids: &[&ConversationId],
    ) -> Result<HashMap<ConversationId, StoredConversation>, StoreError> {
        let ids: Vec<_> = ids.iter().map(|id| id.as_str()).collect();
        let filter = doc! { "conversationId": { "$in": ids } };
        let fields = doc! { "_id": 0, "conversationId": 1, "status": 1, "_placementId": 1, "history.eventType": 1,
        "history.eventId": 1 };
        let calls = self.calls.clone();
        let found: Vec<Document> = self
            .run(async move {
                calls.find(filter).projection(fields).max_time(SERVER_TIME).await?.try_collect().await
            })
            .await?;
        let entry = |document: Document| {
            let id = ConversationId::new(document.get_str("conversationId").ok()?).ok()?;
            let status = document.get_str("status").ok().and_then(Status::from_word);
            let history = document.get_array("history").map(Vec::as_slice).unwrap_or_default();
            // The event of a call that was not connected. Its conversation may still change, so it does not count
            // as read.
            let unconnected = event_id(&id, false);
            let text = |entry: &Bson, field: &str| Some(entry.as_document()?.get_str(field).ok()?.to_owned());
            let is_transcription = |entry: &&Bson| text(entry, "eventType").as_deref() == Some(TRANSCRIPTION);
            let is_read = |entry: &Bson| text(entry, "eventId").as_ref() != Some(&unconnected);
            let is_read = history.iter().filter(is_transcription).any(is_read);
            let is_lookup =
                |entry: &Bson| text(entry, "eventType").is_some_and(|kind| kind.starts_with(OBSERVATION));
            let is_seen = history.iter().any(|entry| is_transcription(&entry) || is_lookup(entry));
            let has_placement = document.contains_key("_placementId");
            Some((id, StoredConversation { status, is_read, is_seen, has_placement }))
        };
        Ok(found.into_iter().filter_map(entry).collect())
    }

    /// The unfinished calls that were last updated between `from` and `to`, at most `most`: conversation and earliest
    /// known time, the earliest first. A call leaves this list when it is concluded, so later calls get their turn.
    pub async fn unfinished(
        &self,
        from: Timestamp,
        to: Timestamp,
        most: i64,
    ) -> Result<Vec<(ConversationId, Timestamp)>, StoreError> {
        let statuses: Vec<_> =
            Status::ALL.into_iter().filter(|status| !status.is_finished()).map(Status::as_str).collect();
        let filter = doc! {
            "status": { "$in": statuses },
            "updatedAt": { "$gt": bson_date(from), "$lt": bson_date(to) },
            "conversationId": { "$exists": true },
            "outcome": { "$exists": false },
        };
        let calls = self.calls.clone();
        let found: Vec<Document> = self
            .run(async move {
                let found =
                    calls.find(filter).projection(doc! { "_id": 0, "conversationId": 1, "createdAt": 1 });
                found
                    .sort(doc! { "createdAt": 1 })
                    .limit(most)
                    .max_time(SERVER_TIME)
                    .await?
                    .try_collect()
                    .await
            })
            .await?;
        let entry = |call: &Document| {
            Some((ConversationId::new(call.get_str("conversationId").ok()?).ok()?, date(call, "createdAt")?))
        };
        Ok(found.iter().filter_map(entry).collect())
    }

    /// Gives up a placement for which ElevenLabs has no call. Returns `false` if its conversation is known meanwhile.
    pub async fn give_up_placement(&self, id: &PlacementId, now: Timestamp) -> Result<bool, StoreError> {
        let filter = doc! {
            "_placementId": id.as_str(), "_placement.open": true, "conversationId": { "$exists": false },
        };
        let claim = StatusClaim {
            status: Status::InitiationFailed,
            at: now,
            event_id: format!("placement:{}:given-up", id.as_str()),
            failure_reason: Some("ElevenLabs knows no such call".to_owned()),
        };
        let mut status = RawDocumentBuf::new();
        fields::append_status(&mut status, &claim);
        if let Some(outcome) = OutcomeClaim::of_status(claim.status, now, &claim.event_id) {
            fields::append_outcome(&mut status, &outcome);
        }
        let mut set = Document::try_from(status).map_err(mongodb::error::Error::from)?;
        set.extend(doc! { "updatedAt": bson_date(now), "_placement.state": "refused" });
        let mut set: Document =
            set.into_iter().map(|(name, value)| (name, doc! { "$literal": value }.into())).collect();
        let event = doc! {
            "eventId": claim.event_id, "eventType": "placement.given_up", "status": claim.status.as_str(),
            "origin": "reconciliation", "at": bson_date(now),
        };
        set.insert("history", doc! { "$concatArrays": ["$history", [{ "$literal": event }]] });
        let update = vec![doc! { "$set": set }, doc! { "$unset": "_placement.open" }, revision::stage(now)];
        let calls = self.calls.clone();
        let updated = self.run(async move { calls.update_one(filter, update).await }).await?;
        Ok(updated.matched_count > 0)
    }

    /// The end of the window of the last complete pass. `None` before the first pass.
    pub async fn last_pass(&self) -> Result<Option<Timestamp>, StoreError> {
        let state = self.leases();
        let found = self.run(async move { state.find_one(doc! { "_id": Lease::Pass.id() }).await }).await?;
        Ok(found.and_then(|found| date(&found, "lastComplete")))
    }

    /// Gives up the lease of a pass. `complete` is the end of the window, if the pass covered all of it.
    pub async fn end_pass(&self, owner: &str, complete: Option<Timestamp>) -> Result<(), StoreError> {
        let mut update = doc! { "$unset": { "leaseUntil": "", "owner": "" } };
        if let Some(complete) = complete {
            // Also if it is earlier than the stored one, which came from a clock that was ahead.
            update.insert("$set", doc! { "lastComplete": bson_date(complete) });
        }
        let (state, filter) = (self.leases(), doc! { "_id": Lease::Pass.id(), "owner": owner });
        self.run(async move { state.update_one(filter, update).await }).await.map(drop)
    }
}
