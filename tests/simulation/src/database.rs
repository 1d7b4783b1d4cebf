//! The model of MongoDB as a worker sees it. A write fails before, in the middle of or after its effect, or
//! takes effect later although the database reported a failure.

use std::{sync::Arc, time::Duration};

use aftercall_worker::{
    domain::{
        call::{Attachment, CallPatch, TranscriptState},
        event::ConversationId,
    },
    store::{Failure, Key, PatchOutcome, PendingTranscript, StoreError, TranscriptResolution},
};

use crate::{
    documents::Documents,
    process::Process,
    world::{Simulation, spawn_detached},
};

/// Longest time from a request to the database, and from the database to the answer.
const MAX_LATENCY: Duration = Duration::from_millis(40);
/// Error code: write conflict.
const CONFLICT: i32 = 112;

/// The connection of a worker to the database.
#[derive(Clone, Debug)]
pub struct Database(pub Arc<Process>);

impl Database {
    fn sim(&self) -> &Simulation {
        &self.0.sim
    }

    /// Applies `change` and returns its result. Depending on chance it fails before or after `change` is
    /// applied, or `change` is applied later. `what` names the write in the log.
    pub async fn write<T>(
        &self,
        what: &str,
        change: impl FnOnce(&mut Documents) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let failed = || StoreError::Unavailable("simulated".to_owned());
        let sim = self.sim();
        self.0.act(MAX_LATENCY).await;
        if sim.happens(|faults| faults.failed_write) {
            sim.note(|| format!("{what}: the database fails"));
            return Err(failed());
        }
        if sim.happens(|faults| faults.late_write) {
            sim.note(|| format!("{what}: the database reports a failure, and writes later"));
            let sim = sim.clone();
            let later = async move {
                sim.pass(Duration::from_secs(20)).await;
                change(&mut sim.world().documents);
            };
            spawn_detached(later);
            return Err(failed());
        }
        let done = change(&mut sim.world().documents);
        if sim.happens(|faults| faults.landed_write) {
            sim.note(|| format!("{what}: the database writes, and reports a failure"));
            return Err(failed());
        }
        self.0.act(MAX_LATENCY).await;
        Ok(done)
    }

    /// Executes statements that do not depend on each other. Returns those that failed.
    async fn command(
        &self,
        what: &str,
        patches: &[&CallPatch],
        statement: impl Fn(&mut Documents, &CallPatch) -> bool + Send + 'static,
    ) -> Result<Vec<(usize, Failure)>, StoreError> {
        let sim = self.sim();
        // If the command breaks off, only a part of the statements is executed.
        let most = patches.len();
        let breaks = sim.happens(|faults| faults.landed_write / 2.0);
        let part = if breaks { usize::try_from(sim.below(most as u64 + 1)).unwrap_or(most) } else { most };
        let conflicts: Vec<_> =
            patches.iter().map(|_| sim.happens(|faults| faults.conflict / 10.0)).collect();
        let patches: Vec<_> = patches[..part].iter().map(|patch| (*patch).clone()).collect();
        let failures = self
            .write(what, move |documents| {
                let mut failures = Vec::new();
                for (n, patch) in patches.iter().enumerate() {
                    if conflicts[n] {
                        failures.push((n, Failure::Transient(CONFLICT)));
                    } else if !statement(documents, patch) {
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
        let is_unknown =
            |documents: &Documents, id: Option<Key>| id.is_some_and(|key| documents.find(&key).is_none());
        let read =
            move |documents: &mut Documents| ids.into_iter().map(|id| is_unknown(documents, id)).collect();
        self.write("unknown", read).await
    }

    async fn insert(&self, patches: &[&CallPatch]) -> Result<Vec<(usize, Failure)>, StoreError> {
        self.command("insert", patches, Documents::insert).await
    }

    async fn update(&self, patches: &[&CallPatch]) -> Result<Vec<(usize, Failure)>, StoreError> {
        self.command("update", patches, Documents::update).await
    }

    async fn merge(&self, patch: &CallPatch) -> Result<Vec<ConversationId>, StoreError> {
        let patch = patch.clone();
        self.write("merge", move |documents| documents.merge(&patch)).await
    }

    async fn outcomes(
        &self,
        patches: &[&CallPatch],
        with_status: bool,
    ) -> Result<Vec<PatchOutcome>, StoreError> {
        let keys: Vec<_> = patches.iter().map(|patch| Key::of_document(patch)).collect();
        let read = move |documents: &mut Documents| {
            let standing = |key: Option<Key>| {
                let document = &documents.calls[documents.find(&key?)?];
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
        let read = move |documents: &mut Documents| {
            let document = documents.of(&conversation)?;
            (document.transcript == Some(TranscriptState::Pending))
                .then_some(PendingTranscript { since: document.pending_since })
        };
        self.write("owing", read).await
    }

    async fn resolve_transcript(
        &self,
        conversation: &ConversationId,
        settled: TranscriptResolution,
    ) -> Result<bool, StoreError> {
        if self.sim().happens(|faults| faults.moved) {
            self.sim().note(|| format!("settle: {} was just merged", conversation.as_str()));
            return Ok(false);
        }
        let (conversation, state) = (
            conversation.clone(),
            match settled {
                TranscriptResolution::Saved { .. } => TranscriptState::Saved,
                TranscriptResolution::Unavailable { .. } => TranscriptState::Unavailable,
            },
        );
        let settle = move |documents: &mut Documents| match documents.of(&conversation) {
            Some(document) if document.transcript != Some(TranscriptState::Saved) => {
                document.transcript = document.transcript.max(Some(state));
                true
            }
            _ => false,
        };
        self.write("settle", settle).await
    }
}
