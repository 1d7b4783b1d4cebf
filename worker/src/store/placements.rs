//! Calls that are placed through the API.
//!
//! Invariants:
//! - A majority of the servers has the document in its journal before the request goes to ElevenLabs.
//! - Of several requests with one idempotency key, only the one whose insert succeeds dials.

use jiff::Timestamp;
use mongodb::{
    bson::{Document, doc},
    error::{ErrorKind, WriteFailure},
};

use super::{
    call_view::CallView,
    connection::{SERVER_TIME, Store},
    convert::bson_date,
    error::{DUPLICATE_KEY, StoreError},
    insert, revision,
    views::{METADATA, MetadataText},
};
use crate::domain::{
    call::{CallPatch, OwnEvent, Placement, Status, size},
    event::{Parties, PlacementId},
};

/// A call that is about to be placed.
#[derive(Clone, Debug)]
pub struct NewPlacement {
    /// The id of the placement.
    pub id: PlacementId,
    /// The idempotency key of the request.
    pub key: Option<String>,
    /// Digest of the request. It distinguishes two requests with the same idempotency key.
    pub digest: String,
    /// The request to ElevenLabs.
    pub request: serde_json::Map<String, serde_json::Value>,
    /// The caller's own texts about the call.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// The agent, the agent's telephone number and the callee.
    pub parties: Parties,
    /// The current time.
    pub at: Timestamp,
}

/// The result of starting a placement.
#[derive(Debug)]
pub enum PlacementStart {
    /// The placement is new. This request has to dial.
    New,
    /// Its idempotency key was used before, for this call.
    Existing(Box<CallView>),
}

/// The result of asking ElevenLabs to dial.
#[derive(Clone, Copy, Debug)]
pub enum PlacementResult {
    /// ElevenLabs accepted the request.
    Placed,
    /// ElevenLabs does not dial. Holds the code of the reason.
    Refused(&'static str),
    /// It is unknown whether ElevenLabs dials.
    Unknown,
}

impl Store {
    /// Inserts the document of a placement, unless its idempotency key was used before.
    ///
    /// # Errors
    /// The request is too large or cannot be stored, or the database is unavailable.
    pub async fn begin_placement(&self, new: &NewPlacement) -> Result<PlacementStart, StoreError> {
        if size::bson_size(&new.request.clone().into()) > size::MAX_REQUEST {
            return Err(StoreError::Refused("the request is too large for a document".to_owned()));
        }
        let document =
            document(new).ok_or_else(|| StoreError::Refused("BSON cannot express the request".to_owned()))?;
        let calls = self.calls.clone();
        let inserted = self.run(async move {
            match calls.insert_one(document).await {
                Ok(_) => Ok(true),
                Err(error) if is_duplicate(&error) => Ok(false),
                Err(error) => Err(error),
            }
        });
        if inserted.await? {
            return Ok(PlacementStart::New);
        }
        let key = new.key.clone().unwrap_or_default();
        let before = self.find_placement(&key).await?;
        let gone =
            || StoreError::Unavailable("the call with this idempotency key is just being merged".to_owned());
        before.map(|call| PlacementStart::Existing(Box::new(call))).ok_or_else(gone)
    }

    /// The call that was placed with this idempotency key.
    pub async fn find_placement(&self, key: &str) -> Result<Option<CallView>, StoreError> {
        self.find_by(doc! { "_idempotencyKey": key }).await
    }

    /// The call of the placement `id`.
    pub async fn find_placed(&self, id: &PlacementId) -> Result<Option<CallView>, StoreError> {
        self.find_by(doc! { "_placementId": id.as_str() }).await
    }

    async fn find_by(&self, filter: Document) -> Result<Option<CallView>, StoreError> {
        let calls = self.calls.clone();
        let found = self.run(async move { calls.find_one(filter).max_time(SERVER_TIME).await }).await?;
        Ok(found.map(CallView::new))
    }

    /// Stores the result of a placement.
    pub async fn conclude_placement(
        &self,
        id: &PlacementId,
        result: PlacementResult,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (state, code) = match result {
            PlacementResult::Placed => ("placed", None),
            PlacementResult::Refused(code) => ("refused", Some(code)),
            PlacementResult::Unknown => ("unknown", None),
        };
        let mut fields = doc! { "_placement.state": state, "updatedAt": bson_date(now) };
        if let Some(code) = code {
            fields.insert("_placement.code", code);
        }
        let mut update = vec![doc! { "$set": fields }, revision::stage(now)];
        if state != "unknown" {
            update.push(doc! { "$unset": "_placement.open" });
        }
        let (calls, filter) = (self.calls.clone(), doc! { "_placementId": id.as_str() });
        self.run(async move { calls.update_one(filter, update).await }).await.map(drop)
    }

    /// Placements that began before `before` and whose result is unknown, the oldest first, at most `most`.
    pub async fn unresolved_placements(
        &self,
        before: Timestamp,
        most: i64,
    ) -> Result<Vec<CallView>, StoreError> {
        use futures_util::TryStreamExt as _;
        let calls = self.calls.clone();
        let filter = doc! { "_placement.open": true, "_placement.at": { "$lt": bson_date(before) } };
        let found: Vec<Document> = self
            .run(async move {
                let found = calls.find(filter).sort(doc! { "_placement.at": 1 }).limit(most);
                found.max_time(SERVER_TIME).await?.try_collect().await
            })
            .await?;
        Ok(found.into_iter().map(CallView::new).collect())
    }
}

/// The document of a new placement: the document of a call without any webhook, and the fields that only
/// placements have. `None` if BSON cannot express it.
fn document(new: &NewPlacement) -> Option<Document> {
    let event = OwnEvent {
        id: format!("placement:{}", new.id.as_str()),
        event_type: "placement.begun".to_owned(),
        origin: "placement",
        status: Status::Initiated,
        received_status: None,
        failure_reason: None,
        at: new.at,
        stored_at: None,
    };
    let patch = CallPatch {
        placement: Some(Placement { id: new.id.clone(), request: Some(new.request.clone()) }),
        parties: new.parties.clone(),
        ..event.into()
    }
    .with_number_suffixes();
    let mut document = Document::try_from(insert::new_document(&patch, new.at).ok()?).ok()?;
    document.insert(
        "_placement",
        doc! { "state": "dialling", "open": true, "at": bson_date(new.at), "digest": &new.digest },
    );
    if !new.metadata.is_empty() {
        // `metadata` holds what ElevenLabs says about the conversation.
        document.insert("placementMetadata", mongodb::bson::serialize_to_bson(&new.metadata).ok()?);
        let texts = new.metadata.iter().filter_map(|(name, value)| {
            let text = MetadataText::new(name, value.as_str()?);
            Some(text.into_stored())
        });
        document.insert(METADATA, texts.collect::<Vec<_>>());
    }
    if let Some(key) = &new.key {
        document.insert("_idempotencyKey", key);
    }
    Some(document)
}

fn is_duplicate(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == DUPLICATE_KEY)
}
