//! Calls placed through us, before anybody else knows of them.
//!
//! Invariant: the document is there, in a majority's journal, before ElevenLabs is asked; of several
//! requests with one idempotency key the insert decides which one dials.

use jiff::Timestamp;
use mongodb::{
    bson::{Document, doc},
    error::{ErrorKind, WriteFailure},
};

use super::{
    CallView, SERVER_TIME, Store, StoreError,
    document::{bson_date, date, json_to_bson},
};
use crate::domain::{
    call::{Status, size},
    event::{Parties, PlacementId},
};

/// A placement about to be dialled.
#[derive(Clone, Debug)]
pub struct NewPlacement {
    /// Ours.
    pub id: PlacementId,
    /// The caller's name for it.
    pub key: Option<String>,
    /// Tells requests apart that bear the same key.
    pub digest: String,
    /// What will be sent to ElevenLabs.
    pub request: serde_json::Map<String, serde_json::Value>,
    /// Agent, its number, callee.
    pub parties: Parties,
    /// Now.
    pub at: Timestamp,
}

/// How far a placement is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placing {
    /// `dialling`, `placed`, `refused` or `unknown`.
    pub state: String,
    /// Of a refusal.
    pub code: Option<String>,
    /// Of the request.
    pub digest: String,
    /// Since when.
    pub at: Timestamp,
}

impl Placing {
    /// Reads it from the document of a call that was placed through us.
    pub(super) fn read(call: &Document) -> Option<Self> {
        let placing = call.get_document("_placement").ok()?;
        let text = |field: &str| placing.get_str(field).ok().map(str::to_owned);
        Some(Self {
            state: text("state")?,
            code: text("code"),
            digest: text("digest").unwrap_or_default(),
            at: date(placing, "at")?,
        })
    }
}

/// Whether a placement is new.
#[derive(Debug)]
pub enum Begun {
    /// It is to be dialled, by us alone.
    New,
    /// Its key was used before.
    Before(Box<CallView>),
}

/// How a placement went on.
#[derive(Clone, Copy, Debug)]
pub enum Concluded {
    /// ElevenLabs accepted it.
    Placed,
    /// Nothing is dialled, for the reason of this code.
    Refused(&'static str),
    /// Nobody knows.
    Unknown,
}

impl Store {
    /// Inserts the document of a placement, unless its key is known.
    pub async fn begin_placement(&self, new: &NewPlacement) -> Result<Begun, StoreError> {
        if size::bson_size(&new.request.clone().into()) > size::MAX_REQUEST {
            return Err(StoreError::Refused("the request is larger than a document has room for".to_owned()));
        }
        let document =
            document(new).ok_or_else(|| StoreError::Refused("it cannot be expressed".to_owned()))?;
        let calls = self.calls.clone();
        let inserted = self.run(async move {
            match calls.insert_one(document).await {
                Ok(_) => Ok(true),
                Err(error) if is_duplicate(&error) => Ok(false),
                Err(error) => Err(error),
            }
        });
        if inserted.await? {
            return Ok(Begun::New);
        }
        let key = new.key.clone().unwrap_or_default();
        let before = self.find_placement(&key).await?;
        let gone = || StoreError::Unavailable("the placement of this key is just being merged".to_owned());
        before.map(|call| Begun::Before(Box::new(call))).ok_or_else(gone)
    }

    /// The call that was placed under `key`.
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

    /// Notes how a placement went on.
    pub async fn conclude_placement(
        &self,
        id: &PlacementId,
        concluded: Concluded,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (state, code) = match concluded {
            Concluded::Placed => ("placed", None),
            Concluded::Refused(code) => ("refused", Some(code)),
            Concluded::Unknown => ("unknown", None),
        };
        let mut fields = doc! { "_placement.state": state, "updatedAt": bson_date(now) };
        if let Some(code) = code {
            fields.insert("_placement.code", code);
        }
        let mut update = doc! { "$set": fields };
        if state != "unknown" {
            update.insert("$unset", doc! { "_placement.open": "" });
        }
        let (calls, filter) = (self.calls.clone(), doc! { "_placementId": id.as_str() });
        self.run(async move { calls.update_one(filter, update).await }).await.map(drop)
    }

    /// Placements begun before `before` of which nobody knows what became, the oldest first.
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

fn document(new: &NewPlacement) -> Option<Document> {
    let (at, status) = (bson_date(new.at), Status::Initiated);
    let event_id = format!("placement:{}", new.id.as_str());
    let mut document = doc! {
        "_placementId": new.id.as_str(),
        "_placement": { "state": "dialling", "open": true, "at": at, "digest": &new.digest },
        "requestPayload": json_to_bson(&new.request)?,
        "agentId": new.parties.agent_id.as_deref(),
        "agentPhoneNumberId": new.parties.agent_phone_number_id.as_deref(),
        "toNumber": new.parties.to_number.as_deref(),
        "status": status.as_str(),
        "failureReason": null,
        "_status": { "rank": status.rank(), "eventId": &event_id },
        "history": [{ "eventId": &event_id, "eventType": "placement.begun", "status": status.as_str(),
            "origin": "placement", "at": at }],
        "createdAt": at,
        "_storedAt": at,
        "statusUpdatedAt": at,
        "updatedAt": at,
    };
    if let Some(key) = &new.key {
        document.insert("_idempotencyKey", key);
    }
    Some(document)
}

fn is_duplicate(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == 11_000)
}
