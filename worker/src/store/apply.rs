//! A batch of patches → what became of each. What the database says of one call decides over that alone.

use futures_util::{StreamExt as _, stream};

use super::{
    StoreError,
    calls::{Calls, Failure},
};
use crate::{
    call::{CallPatch, Status},
    event::ConversationId,
};

/// Halves merged at a time: each is a transaction of its own.
const MERGES: usize = 8;
/// Batches of at most so many calls are told the statuses before and after. In a backlog nobody reads them.
const TOLD: usize = 16;

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
    /// What the status would be without it; `None` for a call never seen, and in large batches.
    pub before: Option<Status>,
    /// The status now; `None` in large batches.
    pub after: Option<Status>,
    /// The conversation whose transcript is owed and can be fetched, its id being known.
    pub transcript_due: Option<ConversationId>,
}

/// Joins `patches` with what is stored. Answers in their order; see [`Changed`].
///
/// # Errors
/// The whole was not, or not wholly, written: to be repeated as it is.
pub async fn apply(stored: &impl Calls, patches: &[CallPatch]) -> Result<Vec<Changed>, StoreError> {
    let refusals = write(stored, patches).await?;
    let all: Vec<_> = patches.iter().collect();
    let standings = stored.standings(&all, patches.len() <= TOLD).await?;
    let applied = standings.into_iter().map(|standing| {
        let (before, after) = (standing.without, standing.status);
        Changed::Applied(Applied { before, after, transcript_due: standing.transcript_due })
    });
    Ok(refusals.into_iter().zip(applied).map(|(refusal, applied)| refusal.unwrap_or(applied)).collect())
}

/// The same without a look at what has become of the calls: which patches are refused, in their order.
///
/// # Errors
/// As above.
pub async fn write(stored: &impl Calls, patches: &[CallPatch]) -> Result<Vec<Option<Changed>>, StoreError> {
    let mut refusals = vec![None; patches.len()];
    // A command runs its statements in their order. Those that name the call go first: when one
    // links the conversation, what names only that finds the call, and no half comes into being.
    let mut order: Vec<_> = (0..patches.len()).collect();
    order.sort_by_key(|&n| patches[n].call_id.is_none());
    let ordered: Vec<_> = order.iter().map(|&n| &patches[n]).collect();
    let mut collided = Vec::new();
    for (position, failure) in stored.update(&ordered).await? {
        let n = order[position];
        match failure {
            Failure::Duplicate => collided.push(n),
            Failure::Passing(code) => return Err(StoreError::Unavailable(format!("code {code}"))),
            Failure::Final(label, detail) => refusals[n] = Some(Changed::Refused { label, detail }),
        }
    }
    // Different calls, so that they do not get into each other's way.
    let merges = collided.into_iter().map(async |n| (n, stored.merge(&patches[n]).await));
    let mut merges = stream::iter(merges).buffer_unordered(MERGES);
    while let Some((n, outcome)) = merges.next().await {
        match outcome {
            Err(StoreError::Refused(why)) => {
                let detail = format!("MongoDB refuses the change: {why}");
                refusals[n] = Some(Changed::Refused { label: "rejected_by_database", detail });
            }
            outcome => outcome?,
        }
    }
    Ok(refusals)
}
