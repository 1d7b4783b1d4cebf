//! Applies a batch of patches to the store. An error of the database that concerns one call does not affect
//! the others.
//!
//! A batch is written in rounds. A round reads the stored calls, joins each with its patch, and writes the results: new
//! calls as documents, the others as updates of documents that are still as they were read. The next round repeats the
//! patches whose document was changed meanwhile, which is rare. A patch that changes several documents is written in a
//! transaction after the rounds, and so is a patch that the last round did not write.

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
pub enum Changed {
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
pub async fn apply(stored: &impl Calls, patches: &[CallPatch]) -> Result<Vec<Changed>, StoreError> {
    let mut batch = Batch { patches, changed: vec![None; patches.len()] };
    // The positions of the patches that are not written yet.
    let (mut open, mut merges): (Vec<_>, _) = ((0..patches.len()).collect(), Vec::new());
    for round in 0..MAX_ROUNDS {
        if open.is_empty() {
            break;
        }
        let Round { updates, inserts, merges: of_round, mut again } =
            batch.read(stored, open, round == 0).await?;
        merges.extend(of_round);
        // A patch that names a call id may link a conversation to the call. A patch that names only the conversation is
        // inserted after it, so that the index refuses it and the next round finds the document.
        again.extend(batch.update(stored, updates).await?);
        again.extend(batch.insert(stored, inserts).await?);
        open = again;
    }
    merges.extend(open);
    batch.merge(stored, merges).await?;
    let unwritten = || StoreError::Unavailable("a patch was not written".to_owned());
    batch.changed.into_iter().map(|changed| changed.ok_or_else(unwritten)).collect()
}

/// What a round does with each patch, by its position.
#[derive(Default)]
struct Round {
    updates: Vec<(usize, CallUpdate)>,
    inserts: Vec<usize>,
    merges: Vec<usize>,
    /// Another patch of the round changes the same document.
    again: Vec<usize>,
}

/// A batch: its patches, and the result of each patch that is written.
struct Batch<'a> {
    patches: &'a [CallPatch],
    changed: Vec<Option<Changed>>,
}

impl Batch<'_> {
    /// Reads the calls of the patches `open`, and decides how each patch is written. The first round looks most calls up by
    /// one id alone: if another document has another id of the patch, a unique index refuses the write.
    async fn read(
        &mut self,
        stored: &impl Calls,
        open: Vec<usize>,
        is_first: bool,
    ) -> Result<Round, StoreError> {
        let keys_of = |n: usize| {
            let patch = &self.patches[n];
            Key::all_of(patch).take(if is_first && patch.placement.is_none() { 1 } else { usize::MAX })
        };
        let keys: Vec<_> = open.iter().flat_map(|&n| keys_of(n)).collect();
        let calls = stored.read(&keys).await?;
        let mut by_key: HashMap<Key, usize> = HashMap::new();
        for (position, call) in calls.iter().enumerate() {
            by_key.extend(call.keys.iter().map(|key| (key.clone(), position)));
        }
        let mut calls: Vec<_> = calls.into_iter().map(Some).collect();
        let mut round = Round::default();
        for n in open {
            let mut found: Vec<_> = keys_of(n).filter_map(|key| by_key.get(&key).copied()).collect();
            found.sort_unstable();
            found.dedup();
            match (found.as_slice(), Key::of(&self.patches[n])) {
                (_, None) => {
                    let detail = "the patch names no call".to_owned();
                    self.changed[n] = Some(Changed::Refused { reason: Reason::NoIdentifier, detail });
                }
                ([], _) => round.inserts.push(n),
                ([one], _) => match calls[*one].take() {
                    None => round.again.push(n),
                    Some(call) if call.takes(&self.patches[n]) => {
                        round.updates.push((n, CallUpdate::of(call, &self.patches[n])));
                    }
                    call => {
                        calls[*one] = call;
                        round.merges.push(n);
                    }
                },
                (_, _) => round.merges.push(n),
            }
        }
        Ok(round)
    }

    /// Writes the updates. Returns the positions of the patches whose documents have to be read again.
    async fn update(
        &mut self,
        stored: &impl Calls,
        updates: Vec<(usize, CallUpdate)>,
    ) -> Result<Vec<usize>, StoreError> {
        for (n, update) in &updates {
            self.changed[*n] = Some(Changed::Applied(Applied::of([update.call()], &self.patches[*n])));
        }
        // An update that changes nothing is sent, too: another primary may not have what was read.
        let (positions, updates): (Vec<_>, Vec<_>) = updates.into_iter().unzip();
        let failures = if updates.is_empty() { Vec::new() } else { stored.update(updates).await? };
        self.failed(&positions, failures)
    }

    /// Inserts the calls of the patches at `positions`. Returns the positions of the patches whose calls have to be read
    /// again.
    async fn insert(
        &mut self,
        stored: &impl Calls,
        mut positions: Vec<usize>,
    ) -> Result<Vec<usize>, StoreError> {
        positions.sort_by_key(|&n| self.patches[n].call_id.is_none());
        let patches: Vec<_> = positions.iter().map(|&n| &self.patches[n]).collect();
        let failures = if patches.is_empty() { Vec::new() } else { stored.insert(&patches).await? };
        for &n in &positions {
            self.changed[n] = Some(Changed::Applied(Applied::of([&self.patches[n]], &self.patches[n])));
        }
        self.failed(&positions, failures)
    }

    /// Notes the failures of a command whose statements belong to the patches at `positions`. Returns the positions of the
    /// patches that have to be tried again.
    fn failed(
        &mut self,
        positions: &[usize],
        failures: Vec<(usize, Failure)>,
    ) -> Result<Vec<usize>, StoreError> {
        let mut again = Vec::new();
        for (position, failure) in failures {
            let n = positions[position];
            match failure {
                Failure::Duplicate | Failure::Outdated => {
                    self.changed[n] = None;
                    again.push(n);
                }
                Failure::Transient(code) => return Err(StoreError::Unavailable(format!("code {code}"))),
                Failure::Final(reason, detail) => self.changed[n] = Some(Changed::Refused { reason, detail }),
            }
        }
        Ok(again)
    }

    /// Merges the patches at `positions` into their calls.
    async fn merge(&mut self, stored: &impl Calls, positions: Vec<usize>) -> Result<(), StoreError> {
        // Patches of one call are merged one after the other, because their transactions would conflict.
        let mut of_calls: IndexMap<_, Vec<usize>> = IndexMap::new();
        for n in positions {
            of_calls.entry(Key::of(&self.patches[n])).or_default().push(n);
        }
        let patches = self.patches;
        let merges = of_calls.into_values().map(async |of_call| {
            let mut results = Vec::with_capacity(of_call.len());
            for n in of_call {
                results.push((n, stored.merge(&patches[n]).await));
            }
            results
        });
        let mut merges = stream::iter(merges).buffer_unordered(MAX_MERGES);
        while let Some(results) = merges.next().await {
            for (n, result) in results {
                self.changed[n] = Some(match result {
                    Err(StoreError::Refused(why)) => {
                        let detail = format!("MongoDB refuses the change: {why}");
                        Changed::Refused { reason: Reason::RejectedByDatabase, detail }
                    }
                    result => Changed::Applied(result?),
                });
            }
        }
        Ok(())
    }
}
