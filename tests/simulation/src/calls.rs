//! The model of MongoDB: documents with unique ids, joined as the statement joins them. It fails before,
//! after and in the middle of what it does, and does it later than it said.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aftercall_worker::{
    domain::{
        call::{Attachment, CallPatch, TranscriptState, conversations},
        event::ConversationId,
    },
    store::{Failure, Key, PatchOutcome, PendingTranscript, StoreError, TranscriptResolution},
};

use crate::{worker::Worker, world::Sim};

/// How long the database takes for anything, at most.
const TAKES: Duration = Duration::from_millis(40);
/// A write conflict.
const CONFLICT: i32 = 112;

/// All documents. Each of their ids is unique.
#[derive(Debug, Default)]
pub struct Calls {
    pub documents: Vec<CallPatch>,
    /// Attempts to work on a suspect webhook that did not end.
    pub attempts: BTreeMap<String, u32>,
}

impl Calls {
    /// The document with the unique id `key`. Of several documents of a call the first has the call's.
    fn find(&self, key: &Key) -> Option<usize> {
        let names = |n: &usize| Key::all_of(&self.documents[*n]).any(|name| name == *key);
        (0..self.documents.len()).filter(names).min_by_key(|&n| &self.documents[n].conversation_id)
    }

    /// A document of its own; false where a unique index refuses it.
    fn insert(&mut self, patch: &CallPatch) -> bool {
        let is_new = Key::all_of(patch).all(|key| self.find(&key).is_none());
        if is_new {
            self.documents.push(patch.clone());
        }
        is_new
    }

    /// One statement; false where it concerns more than one document.
    fn update(&mut self, patch: &CallPatch) -> bool {
        let Some(own) = Key::of(patch) else { return true };
        let document = self.find(&own);
        let collides =
            Key::all_of(patch).any(|key| self.find(&key).is_some_and(|other| Some(other) != document));
        let is_another = document.is_some_and(|n| !self.documents[n].is_joinable(patch));
        let of_call = patch.call_id.is_some() && patch.part_of_call().is_some();
        let documents = self.documents.iter().filter(|document| document.call_id == patch.call_id);
        if collides || is_another || (of_call && documents.count() > 1) {
            return false;
        }
        match document {
            Some(n) => self.documents[n].merge(patch.clone()),
            None => self.documents.push(patch.clone()),
        }
        true
    }

    /// Joins `patch` with all documents of its call. The conversations whose transcript is owed.
    pub fn merge(&mut self, patch: &CallPatch) -> Vec<ConversationId> {
        let stored = std::mem::take(&mut self.documents);
        let joined = conversations::join(stored.clone(), patch.clone());
        let is_written = |n: &usize| joined.documents.iter().any(|one| one.from.contains(n));
        let others = stored.into_iter().enumerate().filter(|(n, _)| !is_written(n));
        self.documents = others.map(|(_, document)| document).collect();
        let owed =
            joined.documents.iter().filter(|one| one.call.transcript == Some(TranscriptState::Pending));
        let owed = owed.filter_map(|one| one.call.conversation_id.clone()).collect();
        self.documents.extend(joined.documents.into_iter().map(|one| one.call));
        owed
    }

    /// The document with this event.
    pub fn with_event(&self, event: &str) -> Option<&CallPatch> {
        self.documents.iter().find(|document| document.history.iter().any(|entry| entry.event_id == event))
    }

    fn of(&mut self, conversation: &ConversationId) -> Option<&mut CallPatch> {
        self.documents.iter_mut().find(|document| document.conversation_id.as_ref() == Some(conversation))
    }
}

/// A worker's connection to it.
#[derive(Clone, Debug)]
pub struct Database(pub Arc<Worker>);

impl Database {
    fn sim(&self) -> &Sim {
        &self.0.sim
    }

    /// Does `change` and answers what it does, or fails before or after, or does it later.
    pub async fn write<T>(
        &self,
        what: &str,
        change: impl FnOnce(&mut Calls) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let failed = || StoreError::Unavailable("simulated".to_owned());
        let sim = self.sim();
        self.0.act(TAKES).await;
        if sim.happens(|faults| faults.failed_write) {
            sim.note(|| format!("{what}: the database fails"));
            return Err(failed());
        }
        if sim.happens(|faults| faults.late_write) {
            sim.note(|| format!("{what}: the database says it failed, and does it later"));
            let sim = sim.clone();
            let later = async move {
                sim.pass(Duration::from_secs(20)).await;
                change(&mut sim.world().calls);
            };
            crate::spawn(later);
            return Err(failed());
        }
        let done = change(&mut sim.world().calls);
        if sim.happens(|faults| faults.landed_write) {
            sim.note(|| format!("{what}: the database does it and says it failed"));
            return Err(failed());
        }
        self.0.act(TAKES).await;
        Ok(done)
    }

    /// Statements that do not depend on each other.
    async fn command(
        &self,
        what: &str,
        patches: &[&CallPatch],
        statement: impl Fn(&mut Calls, &CallPatch) -> bool + Send + 'static,
    ) -> Result<Vec<(usize, Failure)>, StoreError> {
        let sim = self.sim();
        // A part of the statements, where the command breaks off.
        let most = patches.len();
        let breaks = sim.happens(|faults| faults.landed_write / 2.0);
        let part = if breaks { usize::try_from(sim.below(most as u64 + 1)).unwrap_or(most) } else { most };
        let conflicts: Vec<_> =
            patches.iter().map(|_| sim.happens(|faults| faults.conflict / 10.0)).collect();
        let patches: Vec<_> = patches[..part].iter().map(|patch| (*patch).clone()).collect();
        let failures = self
            .write(what, move |calls| {
                let mut failures = Vec::new();
                for (n, patch) in patches.iter().enumerate() {
                    if conflicts[n] {
                        failures.push((n, Failure::Transient(CONFLICT)));
                    } else if !statement(calls, patch) {
                        failures.push((n, Failure::Duplicate));
                    }
                }
                failures
            })
            .await?;
        if breaks { Err(StoreError::Unavailable("broke off".to_owned())) } else { Ok(failures) }
    }
}

impl aftercall_worker::store::Calls for Database {
    async fn unknown(&self, patches: &[&CallPatch]) -> Result<Vec<bool>, StoreError> {
        let ids: Vec<_> = patches.iter().map(|patch| patch.call_id.clone().map(Key::Call)).collect();
        let is_unknown = |calls: &Calls, id: Option<Key>| id.is_some_and(|key| calls.find(&key).is_none());
        let read = move |calls: &mut Calls| ids.into_iter().map(|id| is_unknown(calls, id)).collect();
        self.write("unknown", read).await
    }

    async fn insert(&self, patches: &[&CallPatch]) -> Result<Vec<(usize, Failure)>, StoreError> {
        self.command("insert", patches, Calls::insert).await
    }

    async fn update(&self, patches: &[&CallPatch]) -> Result<Vec<(usize, Failure)>, StoreError> {
        self.command("update", patches, Calls::update).await
    }

    async fn merge(&self, patch: &CallPatch) -> Result<Vec<ConversationId>, StoreError> {
        let patch = patch.clone();
        self.write("merge", move |calls| calls.merge(&patch)).await
    }

    async fn outcomes(
        &self,
        patches: &[&CallPatch],
        with_status: bool,
    ) -> Result<Vec<PatchOutcome>, StoreError> {
        let keys: Vec<_> = patches.iter().map(|patch| Key::of_document(patch)).collect();
        let read = move |calls: &mut Calls| {
            let standing = |key: Option<Key>| {
                let document = &calls.documents[calls.find(&key?)?];
                let owed = document.transcript == Some(TranscriptState::Pending);
                Some(PatchOutcome {
                    status: document.status.as_ref().filter(|_| with_status).map(|claim| claim.status),
                    status_without: None,
                    transcript_due: document.conversation_id.clone().filter(|_| owed),
                })
            };
            keys.into_iter().map(|key| standing(key).unwrap_or_default()).collect()
        };
        self.write("outcomes", read).await
    }

    async fn save_file(&self, _id: &str, _file: &Attachment) -> Result<(), StoreError> {
        self.write("file", |_| ()).await
    }

    async fn pending_transcript(
        &self,
        conversation: &ConversationId,
    ) -> Result<Option<PendingTranscript>, StoreError> {
        let conversation = conversation.clone();
        let read = move |calls: &mut Calls| {
            let document = calls.of(&conversation)?;
            (document.transcript == Some(TranscriptState::Pending))
                .then_some(PendingTranscript { since: document.pending_since })
        };
        self.write("pending transcript", read).await
    }

    async fn resolve_transcript(
        &self,
        conversation: &ConversationId,
        resolution: TranscriptResolution,
    ) -> Result<bool, StoreError> {
        if self.sim().happens(|faults| faults.moved) {
            self.sim().note(|| format!("settle: {} was just merged", conversation.as_str()));
            return Ok(false);
        }
        let (conversation, state) = (
            conversation.clone(),
            match resolution {
                TranscriptResolution::Saved { .. } => TranscriptState::Saved,
                TranscriptResolution::Unavailable { .. } => TranscriptState::Unavailable,
            },
        );
        let settle = move |calls: &mut Calls| match calls.of(&conversation) {
            Some(document) if document.transcript != Some(TranscriptState::Saved) => {
                document.transcript = document.transcript.max(Some(state));
                true
            }
            _ => false,
        };
        self.write("settle", settle).await
    }
}
