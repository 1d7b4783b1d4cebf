//! The model of MongoDB as a worker sees it. A write fails before, in the middle of or after its effect, or
//! takes effect later although the database reported a failure.

use std::{sync::Arc, time::Duration};

use aftercall_worker::{
    domain::{
        call::{Attachment, CallPatch, TranscriptState},
        event::ConversationId,
    },
    store::{
        Applied, CallUpdate, Failure, Key, PendingTranscript, StoreError, StoredCall, TranscriptResolution,
    },
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
            let mut world = sim.world();
            world.rolled_back = Some(world.documents.rolled_back(|documents| drop(change(documents))));
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
    async fn command<S: Clone + Send + 'static>(
        &self,
        what: &str,
        statements: &[S],
        execute: impl Fn(&mut Documents, &S) -> Option<Failure> + Send + 'static,
    ) -> Result<Vec<(usize, Failure)>, StoreError> {
        let sim = self.sim();
        // If the command breaks off, only a part of the statements is executed.
        let most = statements.len();
        let breaks = sim.happens(|faults| faults.landed_write / 2.0);
        let part = if breaks { usize::try_from(sim.below(most as u64 + 1)).unwrap_or(most) } else { most };
        let conflicts: Vec<_> =
            statements.iter().map(|_| sim.happens(|faults| faults.conflict / 10.0)).collect();
        let statements = statements[..part].to_vec();
        let failures = self
            .write(what, move |documents| {
                let failure = |(n, statement): (usize, &S)| {
                    let conflict = conflicts[n].then_some(Failure::Transient(CONFLICT));
                    Some((n, conflict.or_else(|| execute(documents, statement))?))
                };
                let failures: Vec<_> = statements.iter().enumerate().filter_map(failure).collect();
                whole_command(statements.len(), failures)
            })
            .await?;
        if breaks { Err(StoreError::Unavailable("broke off".to_owned())) } else { Ok(failures) }
    }
}

/// The failures of a command as the server tells them: it says how many updates matched no document, and not which.
fn whole_command(statements: usize, failures: Vec<(usize, Failure)>) -> Vec<(usize, Failure)> {
    let (outdated, mut failures): (Vec<_>, Vec<_>) =
        failures.into_iter().partition(|(_, failure)| *failure == Failure::Outdated);
    if !outdated.is_empty() {
        let failed: Vec<_> = failures.iter().map(|(n, _)| *n).collect();
        let others = (0..statements).filter(|n| !failed.contains(n));
        failures.extend(others.map(|n| (n, Failure::Outdated)));
    }
    failures
}

impl aftercall_worker::store::Calls for Database {
    async fn read(&self, keys: &[Key]) -> Result<Vec<StoredCall>, StoreError> {
        let keys = keys.to_vec();
        // A primary that was replaced answers with what it has. It has no majority, so that is rolled back.
        let is_replaced = self.sim().happens(|faults| faults.failed_write);
        let rolled_back = if is_replaced { self.sim().world().rolled_back.take() } else { None };
        if let Some(documents) = rolled_back {
            self.sim().note(|| "read: what a replaced primary has".to_owned());
            return Ok(documents.read(&keys));
        }
        self.write("read", move |documents| documents.read(&keys)).await
    }

    async fn insert(&self, patches: &[&CallPatch]) -> Result<Vec<(usize, Failure)>, StoreError> {
        let patches: Vec<_> = patches.iter().map(|patch| (*patch).clone()).collect();
        let insert = |documents: &mut Documents, patch: &CallPatch| {
            (!documents.insert(patch)).then_some(Failure::Duplicate)
        };
        self.command("insert", &patches, insert).await
    }

    async fn update(&self, updates: Vec<CallUpdate>) -> Result<Vec<(usize, Failure)>, StoreError> {
        let update = |documents: &mut Documents, update: &CallUpdate| match documents.update(update) {
            None => Some(Failure::Outdated),
            Some(is_written) => (!is_written).then_some(Failure::Duplicate),
        };
        self.command("update", &updates, update).await
    }

    async fn merge(&self, patch: &CallPatch) -> Result<Applied, StoreError> {
        let patch = patch.clone();
        self.write("merge", move |documents| documents.merge(&patch)).await
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
        let settle = move |documents: &mut Documents| documents.resolve(&conversation, state);
        self.write("settle", settle).await
    }
}
