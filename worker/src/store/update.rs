//! A batch of patches as update commands, and what is stored of their calls.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, RawArrayBuf, RawDocumentBuf, doc, rawdoc};

use super::{
    COLLECTION, CallView, SERVER_TIME, Store, StoreError,
    calls::{Failure, Standing},
    error::classify,
    statement::{self, Key},
};
use crate::call::{CallPatch, Status, StatusClaim, TranscriptState};

/// Most bytes of statements in one command. The server takes 16 MiB.
const MAX_COMMAND_BYTES: usize = 8 * 1024 * 1024;
/// Largest statement: a document ends at 16 MiB, and there is more in it than this payload.
const MAX_UPDATE_BYTES: usize = 15 * 1024 * 1024;

/// See [`super::Calls::update`].
pub(super) async fn update(
    store: &Store,
    patches: &[&CallPatch],
) -> Result<Vec<(usize, Failure)>, StoreError> {
    let mut failures = Vec::new();
    let mut command = Command::default();
    for (position, patch) in patches.iter().enumerate() {
        match statement(patch) {
            Ok(statement) => {
                if !command.fits(&statement) {
                    failures.extend(std::mem::take(&mut command).run(store).await?);
                }
                command.add(position, statement);
            }
            Err((label, detail)) => failures.push((position, Failure::Final(label, detail.to_owned()))),
        }
    }
    failures.extend(command.run(store).await?);
    Ok(failures)
}

/// The statement of an update command that joins `patch` with the document of its key.
///
/// # Errors
/// Label and sentence of a dead letter: it never can.
pub fn statement(patch: &CallPatch) -> Result<RawDocumentBuf, statement::Unstorable> {
    let key = Key::of(patch).ok_or(("no_identifier", "the patch names no call"))?;
    let pipeline = statement::pipeline(patch, Vec::new())?;
    let update = RawDocumentBuf::try_from(&doc! { "q": key.filter(), "u": pipeline, "upsert": true })
        .map_err(|_error| ("unstorable_payload", "the payload cannot be written as BSON"))?;
    if update.as_bytes().len() > MAX_UPDATE_BYTES {
        // The server would refuse the whole command, neighbours and all.
        return Err(("unstorable_payload", "as BSON the payload is larger than a document may be"));
    }
    Ok(update)
}

/// Statements of one command, with the positions of their patches.
#[derive(Default)]
struct Command {
    positions: Vec<usize>,
    updates: RawArrayBuf,
}

impl Command {
    fn fits(&self, update: &RawDocumentBuf) -> bool {
        self.positions.is_empty()
            || self.updates.as_bytes().len() + update.as_bytes().len() <= MAX_COMMAND_BYTES
    }

    fn add(&mut self, position: usize, update: RawDocumentBuf) {
        self.positions.push(position);
        self.updates.push(update);
    }

    /// Runs it; the statements that failed.
    async fn run(self, store: &Store) -> Result<Vec<(usize, Failure)>, StoreError> {
        if self.positions.is_empty() {
            return Ok(Vec::new());
        }
        let command = rawdoc! {
            "update": COLLECTION,
            "updates": self.updates,
            "ordered": false, // A statement that fails does not fail its neighbours.
            "writeConcern": { "w": "majority", "j": true },
            "maxTimeMS": i64::try_from(SERVER_TIME.as_millis()).expect("a small constant"),
        };
        let database = store.database.clone();
        let answer = store.run(async move { database.run_raw_command(command).await }).await?;
        if let Ok(concern) = answer.get_document("writeConcernError") {
            // Written, but not known to survive: as good as not written.
            let code = concern.get_i32("code").unwrap_or(0);
            return Err(StoreError::Unavailable(format!("write concern: code {code}")));
        }
        let errors = answer.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default();
        let failed = errors.iter().filter_map(|error| {
            let error = error.as_document()?;
            let index = usize::try_from(error.get_i32("index").ok()?).ok()?;
            Some((*self.positions.get(index)?, classify(error.get_i32("code").ok()?)))
        });
        Ok(failed.collect())
    }
}

/// See [`super::Calls::standings`].
pub(super) async fn standings(
    store: &Store,
    patches: &[&CallPatch],
    with_status: bool,
) -> Result<Vec<Standing>, StoreError> {
    let asked = |patch: &&&CallPatch| with_status || may_owe(patch);
    let keys: Vec<_> = patches.iter().filter(asked).filter_map(|patch| Key::of(patch)).collect();
    let found = find(store, &keys, with_status).await?;
    let standing = |patch: &&CallPatch| {
        let call = Key::of(patch).and_then(|key| found.get(&key))?;
        Some(Standing {
            status: call.status(),
            without: with_status.then(|| without(call, patch)).flatten(),
            transcript_due: call.conversation_id().filter(|_| call.owes_transcript()),
        })
    };
    Ok(patches.iter().map(|patch| standing(patch).unwrap_or_default()).collect())
}

/// Whether a transcript can be due because of the patch: by an event that ends the conversation, or by one
/// that tells which conversation it was.
fn may_owe(patch: &CallPatch) -> bool {
    patch.transcript == Some(TranscriptState::Owed) || patch.conversation_id.is_some()
}

/// What the status would be without the events of `patch`.
fn without(call: &CallView, patch: &CallPatch) -> Option<Status> {
    let known = |claim: &StatusClaim| patch.history.iter().any(|entry| entry.event_id == claim.event_id);
    let others = call.claims().into_iter().filter(|claim| !known(claim));
    others.max_by(|a, b| a.key().cmp(&b.key())).map(|claim| claim.status)
}

/// The calls behind `keys`; where their statuses do not matter, only those with an owed transcript, by the
/// index of these alone.
async fn find(store: &Store, keys: &[Key], with_status: bool) -> Result<HashMap<Key, CallView>, StoreError> {
    let mut by_field: HashMap<&str, Vec<&str>> = HashMap::new();
    for key in keys {
        by_field.entry(key.field()).or_default().push(key.id());
    }
    let (mut found, mut fields) = (HashMap::new(), doc! { "_id": 0 });
    let names: &[&str] = if with_status { &["status", "history"] } else { &[] };
    for name in ["callId", "conversationId", "_placementId", "transcriptState"].iter().chain(names) {
        fields.insert(*name, 1);
    }
    for (field, ids) in by_field {
        let mut filter = doc! { field: { "$in": ids } };
        if !with_status {
            filter.insert("transcriptState", "owed");
        }
        let (calls, fields) = (store.calls.clone(), fields.clone());
        let documents: Vec<Document> = store
            .run(async move {
                calls.find(filter).projection(fields).max_time(SERVER_TIME).await?.try_collect().await
            })
            .await?;
        for document in documents {
            let call = CallView::new(document);
            found.extend(call.keys().into_iter().map(|key| (key, call.clone())));
        }
    }
    Ok(found)
}
