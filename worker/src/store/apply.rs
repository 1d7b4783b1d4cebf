//! A batch of patches → one update command, its statements independent of each other.

use std::collections::HashMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mongodb::bson::{Document, RawArrayBuf, RawDocumentBuf, doc, rawdoc};

use super::{
    COLLECTION, SERVER_TIME, Store, StoreError,
    error::is_passing,
    merge,
    statement::{self, Key},
};
use crate::{
    call::{CallPatch, Status},
    event::{CallId, ConversationId, PlacementId},
};

/// Most bytes of statements in one command. The server takes 16 MiB.
const MAX_COMMAND_BYTES: usize = 8 * 1024 * 1024;
/// Largest statement: a document ends at 16 MiB, and there is more in it than this payload.
const MAX_UPDATE_BYTES: usize = 15 * 1024 * 1024;
/// Halves merged at a time: each is a transaction of its own.
const MERGES: usize = 8;
/// The server's answer where a unique index holds the value already.
const DUPLICATE_KEY: i32 = 11_000;

/// What became of one patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is part of its document, durably.
    Applied(Applied),
    /// It never can be. The label is the reason of a dead letter.
    Refused {
        /// Stable label.
        label: &'static str,
        /// A sentence for the operator.
        detail: String,
    },
}

/// A patch that is part of its document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Status just before, as far as one reader can tell; `None` for a call never seen.
    pub before: Option<Status>,
    /// Status after.
    pub after: Option<Status>,
    /// The conversation whose transcript is owed and can be fetched, its id being known.
    pub transcript_due: Option<ConversationId>,
}

/// What a batch needs to know of a stored call.
struct Summary {
    status: Option<Status>,
    transcript_due: Option<ConversationId>,
}

pub(super) async fn apply(store: &Store, patches: &[CallPatch]) -> Result<Vec<Changed>, StoreError> {
    let mut changes = vec![None; patches.len()];
    let mut commands = Commands::default();
    let keys: Vec<_> = patches.iter().map(Key::of).collect();
    // A command runs its statements in their order. Those that name the call go first: when one
    // links the conversation, what names only that finds the call, and no half comes into being.
    let mut ordered: Vec<_> = patches.iter().enumerate().collect();
    ordered.sort_by_key(|(_, patch)| patch.call_id.is_none());
    for (n, patch) in ordered {
        match keys[n].as_ref().map(|key| update(key, patch)) {
            Some(Ok(update)) => commands.add(n, update),
            Some(Err((label, detail))) => changes[n] = Some(refused(label, detail)),
            None => changes[n] = Some(refused("no_identifier", "the patch names no call")),
        }
    }

    let before = summaries(store, &keys).await?;
    let mut collided = Vec::new();
    for (positions, updates) in commands.take() {
        for (position, code) in run(store, updates).await? {
            let n = positions[position];
            match code {
                DUPLICATE_KEY => collided.push(n),
                code if is_passing(code) => return Err(StoreError::Unavailable(format!("code {code}"))),
                code => changes[n] = Some(rejected(&format!("code {code}"))),
            }
        }
    }
    // Different calls, so that they do not get into each other's way.
    let merges = collided.into_iter().map(async |n| (n, merge::apply(store, patches[n].clone()).await));
    let mut merges = stream::iter(merges).buffer_unordered(MERGES);
    while let Some((n, outcome)) = merges.next().await {
        match outcome {
            Err(StoreError::Refused(why)) => changes[n] = Some(rejected(&why)),
            outcome => outcome?,
        }
    }
    let after = summaries(store, &keys).await?;

    Ok(changes
        .into_iter()
        .zip(&keys)
        .map(|(change, key)| {
            change.unwrap_or_else(|| {
                let (before, after) =
                    (key.as_ref().and_then(|k| before.get(k)), key.as_ref().and_then(|k| after.get(k)));
                Changed::Applied(Applied {
                    before: before.and_then(|summary| summary.status),
                    after: after.and_then(|summary| summary.status),
                    transcript_due: after.and_then(|summary| summary.transcript_due.clone()),
                })
            })
        })
        .collect())
}

fn refused(label: &'static str, detail: impl Into<String>) -> Changed {
    Changed::Refused { label, detail: detail.into() }
}

fn rejected(why: &str) -> Changed {
    refused("rejected_by_database", format!("MongoDB refuses the change: {why}"))
}

fn update(key: &Key, patch: &CallPatch) -> Result<RawDocumentBuf, statement::Unstorable> {
    let pipeline = statement::pipeline(patch, Vec::new())?;
    let update = RawDocumentBuf::try_from(&doc! { "q": key.filter(), "u": pipeline, "upsert": true })
        .map_err(|_error| ("unstorable_payload", "the payload cannot be written as BSON"))?;
    if update.as_bytes().len() > MAX_UPDATE_BYTES {
        // The server would refuse the whole command, neighbours and all.
        return Err(("unstorable_payload", "as BSON the payload is larger than a document may be"));
    }
    Ok(update)
}

/// Statements cut into commands by size, each with the positions of its patches.
#[derive(Default)]
struct Commands {
    done: Vec<(Vec<usize>, RawArrayBuf)>,
    positions: Vec<usize>,
    updates: RawArrayBuf,
}

impl Commands {
    fn add(&mut self, position: usize, update: RawDocumentBuf) {
        let size = self.updates.as_bytes().len() + update.as_bytes().len();
        if size > MAX_COMMAND_BYTES && !self.positions.is_empty() {
            self.close();
        }
        self.positions.push(position);
        self.updates.push(update);
    }

    fn close(&mut self) {
        self.done.push((std::mem::take(&mut self.positions), std::mem::take(&mut self.updates)));
    }

    fn take(mut self) -> Vec<(Vec<usize>, RawArrayBuf)> {
        if !self.positions.is_empty() {
            self.close();
        }
        self.done
    }
}

/// Runs one command; the positions and codes of the statements that failed.
async fn run(store: &Store, updates: RawArrayBuf) -> Result<Vec<(usize, i32)>, StoreError> {
    let command = rawdoc! {
        "update": COLLECTION,
        "updates": updates,
        "ordered": false, // A statement that fails does not fail its neighbours.
        "writeConcern": { "w": "majority", "j": true },
        "maxTimeMS": i64::try_from(SERVER_TIME.as_millis()).expect("a small constant"),
    };
    let database = store.database.clone();
    let answer = store.run(async move { database.run_raw_command(command).await }).await?;
    if let Ok(concern) = answer.get_document("writeConcernError") {
        // Written, but not known to survive: as good as not written.
        return Err(StoreError::Unavailable(format!(
            "write concern: code {}",
            concern.get_i32("code").unwrap_or(0)
        )));
    }
    let errors = answer.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default();
    let failed = errors.iter().filter_map(|error| {
        let error = error.as_document()?;
        Some((usize::try_from(error.get_i32("index").ok()?).ok()?, error.get_i32("code").ok()?))
    });
    Ok(failed.collect())
}

/// Reads status and transcript state of the calls behind `keys`.
async fn summaries(store: &Store, keys: &[Option<Key>]) -> Result<HashMap<Key, Summary>, StoreError> {
    let (mut calls, mut conversations, mut placements) = (Vec::new(), Vec::new(), Vec::new());
    for key in keys.iter().flatten() {
        match key {
            Key::Call(id) => calls.push(id.as_str()),
            Key::Conversation(id) => conversations.push(id.as_str()),
            Key::Placement(id) => placements.push(id.as_str()),
        }
    }
    let mut filters = Vec::with_capacity(3);
    let by_field = [("callId", calls), ("conversationId", conversations), ("_placementId", placements)];
    for (field, ids) in by_field {
        if !ids.is_empty() {
            filters.push(doc! { field: { "$in": ids } });
        }
    }
    if filters.is_empty() {
        return Ok(HashMap::new());
    }
    let filter = if filters.len() == 1 {
        filters.remove(0)
    } else {
        doc! { "$or": filters }
    };
    let collection = store.calls.clone();
    let documents: Vec<Document> = store
        .run(async move {
            let fields = doc! {
                "_id": 0, "callId": 1, "conversationId": 1, "_placementId": 1, "status": 1, "transcriptState": 1,
            };
            collection.find(filter).projection(fields).max_time(SERVER_TIME).await?.try_collect().await
        })
        .await?;
    let mut summaries = HashMap::with_capacity(documents.len());
    for document in documents {
        let text = |field: &str| document.get_str(field).ok();
        let conversation = text("conversationId").and_then(|id| ConversationId::new(id).ok());
        let summary = || Summary {
            status: text("status").and_then(Status::from_word),
            transcript_due: conversation.clone().filter(|_| text("transcriptState") == Some("owed")),
        };
        if let Some(id) = text("callId").and_then(|id| CallId::new(id).ok()) {
            summaries.insert(Key::Call(id), summary());
        }
        if let Some(id) = text("_placementId").and_then(|id| PlacementId::new(id).ok()) {
            summaries.insert(Key::Placement(id), summary());
        }
        if let Some(id) = &conversation {
            summaries.insert(Key::Conversation(id.clone()), summary());
        }
    }
    Ok(summaries)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::event::{Envelope, Origin, parse};

    #[test]
    fn a_payload_that_grows_beyond_a_document_is_refused_alone() {
        let body = format!(r#"{{"event_type":"call.busy","call_id":"c","a":[0{}]}}"#, ",0".repeat(1_500_000));
        let envelope = Envelope {
            id: "e".to_owned(),
            stored_at: Timestamp::UNIX_EPOCH,
            origin: Origin::ElevenLabs,
            signature: None,
        };
        let patch = CallPatch::from(parse(&envelope, body.as_bytes()).unwrap());
        let key = Key::of(&patch).unwrap();
        assert_eq!(update(&key, &patch).unwrap_err().0, "unstorable_payload");
    }
}
