//! Applies a batch of patches to the store. An error of the database that concerns one call does not affect
//! the others.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt as _, stream};
use indexmap::IndexMap;

use super::{
    calls::{Calls, PatchOutcome},
    error::{Failure, StoreError},
    key::Key,
};
use crate::domain::{
    call::{CallPatch, Status, TranscriptState},
    event::ConversationId,
    reason::Reason,
};

/// Most calls that are merged at the same time. Each merge is a transaction.
const MAX_MERGES: usize = 8;
/// Largest number of patches in a small batch. For a small batch, the statuses before and after are returned,
/// and all patches are joined without a query for unknown calls. A larger batch is a backlog: its statuses
/// are not needed, and many of its calls are new.
const SMALL_BATCH: usize = 16;

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

/// A patch that is part of its document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The status of the call without the patch. `None` for a new call and in large batches.
    pub before: Option<Status>,
    /// The status of the call with the patch. `None` in large batches.
    pub after: Option<Status>,
    /// The conversations whose transcripts are pending and can be fetched.
    pub transcripts_due: Vec<ConversationId>,
}

/// The way in which a patch was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// As a new document: no document of its call was stored.
    New,
    /// Joined with the document of its call. The statement may have created this document.
    Joined,
    /// Not written: the patch can never be applied. Reason and sentence as in [`Changed::Refused`].
    Refused(Reason, String),
}

/// Joins `patches` with the stored calls. Returns a result for each, in their order.
///
/// # Errors
/// It is unknown which patches were written. The caller has to repeat the whole batch.
pub async fn apply(stored: &impl Calls, patches: &[CallPatch]) -> Result<Vec<Changed>, StoreError> {
    let (written, mut pending) = write_all(stored, patches).await?;
    let joined = |n: &usize| written[*n] == Written::Joined;
    let joined: Vec<_> = (0..patches.len()).filter(joined).map(|n| &patches[n]).collect();
    let outcomes = stored.outcomes(&joined, patches.len() <= SMALL_BATCH).await?;
    let mut outcomes = outcomes.into_iter();
    let changed = |(n, written)| match written {
        Written::New => {
            let transcripts_due = due(&patches[n]).into_iter().collect();
            Changed::Applied(Applied { transcripts_due, ..Applied::default() })
        }
        Written::Joined => {
            let PatchOutcome { status_without, status, transcript_due } = outcomes.next().unwrap_or_default();
            let mut transcripts_due = pending.remove(&n).unwrap_or_default();
            transcripts_due.extend(transcript_due);
            transcripts_due.sort_unstable();
            transcripts_due.dedup();
            Changed::Applied(Applied { before: status_without, after: status, transcripts_due })
        }
        Written::Refused(reason, detail) => Changed::Refused { reason, detail },
    };
    Ok(written.into_iter().enumerate().map(changed).collect())
}

/// The conversation whose transcript is pending in a new document that holds only `patch`.
fn due(patch: &CallPatch) -> Option<ConversationId> {
    patch.conversation_id.clone().filter(|_| patch.transcript == Some(TranscriptState::Pending))
}

/// Joins `patches` with the stored calls, and does not read their outcomes.
///
/// # Errors
/// As [`apply`].
pub async fn write(stored: &impl Calls, patches: &[CallPatch]) -> Result<Vec<Written>, StoreError> {
    Ok(write_all(stored, patches).await?.0)
}

/// The conversations whose transcripts are pending, by the position of the patch that was merged into their
/// call.
type Pending = HashMap<usize, Vec<ConversationId>>;

async fn write_all(
    stored: &impl Calls,
    patches: &[CallPatch],
) -> Result<(Vec<Written>, Pending), StoreError> {
    let mut written = vec![Written::Joined; patches.len()];
    if patches.len() > SMALL_BATCH {
        for n in insert(stored, patches).await? {
            written[n] = Written::New;
        }
    }
    // A command runs its statements in their order. The patches that name a call id go first: such a patch
    // may link a conversation to the call, and a patch that names only the conversation then finds the
    // document.
    let mut order: Vec<_> = (0..patches.len()).filter(|&n| written[n] == Written::Joined).collect();
    order.sort_by_key(|&n| patches[n].call_id.is_none());
    let ordered: Vec<_> = order.iter().map(|&n| &patches[n]).collect();
    let mut collided = Vec::new();
    for (position, failure) in stored.update(&ordered).await? {
        let n = order[position];
        match failure {
            Failure::Duplicate => collided.push(n),
            Failure::Transient(code) => return Err(StoreError::Unavailable(format!("code {code}"))),
            Failure::Final(reason, detail) => written[n] = Written::Refused(reason, detail),
        }
    }
    let pending = merge(stored, patches, collided, &mut written).await?;
    Ok((written, pending))
}

/// Merges the patches whose statements failed on a unique index: `collided` has their positions. Marks the
/// refused patches in `written`.
async fn merge(
    stored: &impl Calls,
    patches: &[CallPatch],
    collided: Vec<usize>,
    written: &mut [Written],
) -> Result<Pending, StoreError> {
    // Patches of one call are merged one after the other, because their transactions would conflict.
    let mut of_calls: IndexMap<_, Vec<usize>> = IndexMap::new();
    for n in collided {
        of_calls.entry(Key::of(&patches[n])).or_default().push(n);
    }
    let merges = of_calls.into_values().map(async |of_call| {
        let mut outcomes = Vec::with_capacity(of_call.len());
        for n in of_call {
            outcomes.push((n, stored.merge(&patches[n]).await));
        }
        outcomes
    });
    let mut merges = stream::iter(merges).buffer_unordered(MAX_MERGES);
    let mut pending = Pending::new();
    while let Some(outcomes) = merges.next().await {
        for (n, outcome) in outcomes {
            match outcome {
                Err(StoreError::Refused(why)) => {
                    let detail = format!("MongoDB refuses the change: {why}");
                    written[n] = Written::Refused(Reason::RejectedByDatabase, detail);
                }
                outcome => drop(pending.insert(n, outcome?)),
            }
        }
    }
    Ok(pending)
}

/// Inserts the calls that are not stored yet, which is cheaper than an update. Returns the positions of the
/// inserted patches. The caller joins all other patches: their calls are stored, or their insert failed.
async fn insert(stored: &impl Calls, patches: &[CallPatch]) -> Result<Vec<usize>, StoreError> {
    // A patch that names only a conversation may belong to a call that another patch links to it. A placed
    // call has a document already.
    let may_be_new = |&n: &usize| patches[n].call_id.is_some() && patches[n].placement.is_none();
    let mut new: Vec<_> = (0..patches.len()).filter(may_be_new).collect();
    if new.is_empty() {
        return Ok(new);
    }
    let of = |chosen: &[usize]| chosen.iter().map(|&n| &patches[n]).collect::<Vec<_>>();
    let unknown = stored.unknown(&of(&new)).await?;
    let mut unknown = unknown.into_iter();
    new.retain(|_| unknown.next().unwrap_or(false));
    let failures = stored.insert(&of(&new)).await?;
    let failed: HashSet<_> = failures.into_iter().map(|(position, _)| new[position]).collect();
    new.retain(|n| !failed.contains(n));
    Ok(new)
}
