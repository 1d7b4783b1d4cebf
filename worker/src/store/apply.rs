//! Applies a batch of patches to the store. If the database refuses one patch, the others are applied nevertheless.
//!
//! A batch is written in rounds. Each round has three steps:
//! 1. It reads the stored calls of all patches that are not written yet.
//! 2. It joins each stored call with its patch, and updates the document if it is still as it was read.
//! 3. It inserts a document for each patch whose call is not stored.
//!
//! If a document was changed after it was read, its patch is repeated in the next round. A patch that changes several
//! documents is written in a transaction after the rounds, and so is a patch that the last round did not write.

use std::collections::HashMap;

use futures_util::{StreamExt as _, stream};
use indexmap::IndexMap;

use super::{
    applied::Applied,
    call_update::CallUpdate,
    calls::Calls,
    error::{Failure, StoreError},
    key::Key,
};
use crate::domain::{call::CallPatch, reason::Reason};

/// Most calls that are merged at the same time. Each merge is a transaction.
const MAX_MERGES: usize = 8;
/// Most rounds of a batch.
const MAX_ROUNDS: usize = 3;

/// The result of one patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchResult {
    /// The patch is part of its document, durably.
    Applied(Applied),
    /// The patch can never be applied.
    Refused {
        /// The reason of the dead letter.
        reason: Reason,
        /// A sentence for the operator.
        detail: String,
    },
}

/// Joins `patches` with the stored calls. Returns a result for each, in their order.
///
/// # Errors
/// It is unknown which patches were written. The caller has to repeat the whole batch.
pub async fn apply(stored: &impl Calls, patches: &[CallPatch]) -> Result<Vec<PatchResult>, StoreError> {
    let mut batch = Batch { patches, results: vec![None; patches.len()] };
    let mut unwritten: Vec<_> = (0..patches.len()).collect();
    let mut merges = Vec::new();
    for round in 0..MAX_ROUNDS {
        if unwritten.is_empty() {
            break;
        }
        let plan = batch.read(stored, unwritten, round == 0).await?;
        merges.extend(plan.merges);
        let mut retries = plan.retries;
        retries.extend(batch.update(stored, plan.updates).await?);
        retries.extend(batch.insert(stored, plan.inserts).await?);
        unwritten = retries;
    }
    merges.extend(unwritten);
    batch.merge(stored, merges).await?;
    let no_result = || StoreError::Unavailable("a patch was not written".to_owned());
    batch.results.into_iter().map(|result| result.ok_or_else(no_result)).collect()
}

/// How a round writes each patch. Patches are given by their positions in the batch.
#[derive(Default)]
struct Plan {
    /// Patches of one stored document each.
    updates: Vec<(usize, CallUpdate)>,
    /// Patches of calls that are not stored.
    inserts: Vec<usize>,
    /// Patches that change several documents.
    merges: Vec<usize>,
    /// Patches of a document that another patch of this round updates. They are written in the next round.
    retries: Vec<usize>,
}

/// A batch: its patches, and the result of each patch that is written.
struct Batch<'a> {
    patches: &'a [CallPatch],
    results: Vec<Option<PatchResult>>,
}

impl Batch<'_> {
    /// Reads the calls of the `unwritten` patches, and decides how each patch is written. To save time, the first round looks
    /// up a call by one of its ids. If another document has another id of the patch, a unique index refuses the write, and
    /// the next round looks up all ids.
    async fn read(
        &mut self,
        stored: &impl Calls,
        unwritten: Vec<usize>,
        is_first: bool,
    ) -> Result<Plan, StoreError> {
        let keys_of = |n: usize| {
            let patch = &self.patches[n];
            Key::all_of(patch).take(if is_first && patch.placement.is_none() { 1 } else { usize::MAX })
        };
        let keys: Vec<_> = unwritten.iter().flat_map(|&n| keys_of(n)).collect();
        let calls = stored.read(&keys).await?;
        let mut by_key: HashMap<Key, usize> = HashMap::new();
        for (position, call) in calls.iter().enumerate() {
            by_key.extend(call.keys.iter().map(|key| (key.clone(), position)));
        }
        let mut calls: Vec<_> = calls.into_iter().map(Some).collect();
        let mut plan = Plan::default();
        for n in unwritten {
            let mut found: Vec<_> = keys_of(n).filter_map(|key| by_key.get(&key).copied()).collect();
            found.sort_unstable();
            found.dedup();
            match (found.as_slice(), Key::of(&self.patches[n])) {
                (_, None) => {
                    let detail = "the patch names no call".to_owned();
                    self.results[n] = Some(PatchResult::Refused { reason: Reason::NoIdentifier, detail });
                }
                ([], _) => plan.inserts.push(n),
                ([one], _) => match calls[*one].take() {
                    None => plan.retries.push(n),
                    Some(call) if call.is_changed_alone_by(&self.patches[n]) => {
                        plan.updates.push((n, CallUpdate::of(call, &self.patches[n])));
                    }
                    call => {
                        calls[*one] = call;
                        plan.merges.push(n);
                    }
                },
                (_, _) => plan.merges.push(n),
            }
        }
        Ok(plan)
    }

    /// Writes the updates. Returns the positions of the patches that the next round has to repeat.
    async fn update(
        &mut self,
        stored: &impl Calls,
        updates: Vec<(usize, CallUpdate)>,
    ) -> Result<Vec<usize>, StoreError> {
        for (n, update) in &updates {
            self.results[*n] = Some(PatchResult::Applied(Applied::of([update.call()], &self.patches[*n])));
        }
        // An update that changes nothing is sent, too. What was read may not be durable yet: the answer to the update is the
        // proof.
        let (positions, updates): (Vec<_>, Vec<_>) = updates.into_iter().unzip();
        let failures = if updates.is_empty() { Vec::new() } else { stored.update(updates).await? };
        self.note_failures(&positions, failures)
    }

    /// Inserts the calls of the patches at `positions`. Returns the positions of the patches that the next round has to
    /// repeat.
    async fn insert(
        &mut self,
        stored: &impl Calls,
        mut positions: Vec<usize>,
    ) -> Result<Vec<usize>, StoreError> {
        // One patch may name a call and its conversation, and another one only the conversation. The first one is inserted
        // first. Then the unique index refuses the other one, and the next round joins it with the document.
        positions.sort_by_key(|&n| self.patches[n].call_id.is_none());
        let patches: Vec<_> = positions.iter().map(|&n| &self.patches[n]).collect();
        let failures = if patches.is_empty() { Vec::new() } else { stored.insert(&patches).await? };
        for &n in &positions {
            self.results[n] = Some(PatchResult::Applied(Applied::of([&self.patches[n]], &self.patches[n])));
        }
        self.note_failures(&positions, failures)
    }

    /// Corrects the results of the statements that failed. The first statement belongs to the patch at the first of
    /// `positions`, and so on. Returns the positions of the patches that the next round has to repeat.
    fn note_failures(
        &mut self,
        positions: &[usize],
        failures: Vec<(usize, Failure)>,
    ) -> Result<Vec<usize>, StoreError> {
        let mut retries = Vec::new();
        for (position, failure) in failures {
            let n = positions[position];
            match failure {
                Failure::Duplicate | Failure::Outdated => {
                    self.results[n] = None;
                    retries.push(n);
                }
                Failure::Transient(code) => {
                    return Err(StoreError::Unavailable(format!(
                        "a statement failed with the server's code {code}"
                    )));
                }
                Failure::Final(reason, detail) => {
                    self.results[n] = Some(PatchResult::Refused { reason, detail });
                }
            }
        }
        Ok(retries)
    }

    /// Merges the patches at `positions` into their calls.
    async fn merge(&mut self, stored: &impl Calls, positions: Vec<usize>) -> Result<(), StoreError> {
        // Patches with the same first id are merged one after the other, because their transactions would conflict.
        let mut by_key: IndexMap<_, Vec<usize>> = IndexMap::new();
        for n in positions {
            by_key.entry(Key::of(&self.patches[n])).or_default().push(n);
        }
        let patches = self.patches;
        let merges = by_key.into_values().map(async |positions| {
            let mut results = Vec::with_capacity(positions.len());
            for n in positions {
                results.push((n, stored.merge(&patches[n]).await));
            }
            results
        });
        let mut merges = stream::iter(merges).buffer_unordered(MAX_MERGES);
        while let Some(results) = merges.next().await {
            for (n, result) in results {
                self.results[n] = Some(match result {
                    Err(StoreError::Refused(why)) => {
                        let detail = format!("MongoDB refuses the change: {why}");
                        PatchResult::Refused { reason: Reason::RejectedByDatabase, detail }
                    }
                    result => PatchResult::Applied(result?),
                });
            }
        }
        Ok(())
    }
}
