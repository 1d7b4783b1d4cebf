//! A batch of patches → what became of each. What the database says of one call decides over that alone.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt as _, stream};
use indexmap::IndexMap;

use super::{
    Key, StoreError,
    calls::{Calls, Failure, Standing},
};
use crate::domain::{
    call::{CallPatch, Status, TranscriptState},
    event::ConversationId,
};

/// Halves merged at a time: each is a transaction of its own.
const MERGES: usize = 8;
/// Batches of at most so many calls are told the statuses before and after, and joined without a question. Where
/// there are more it is a backlog: nobody reads the statuses, and many of its calls are new.
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
    /// The conversations whose transcripts are owed and can be fetched, their ids being known.
    pub transcripts_due: Vec<ConversationId>,
}

/// What a patch was written as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// A document of its own: it is all that is known of its call.
    New,
    /// A part of its call's document, be it the first.
    Joined,
    /// Nothing, for ever. Label and sentence as in [`Changed::Refused`].
    Refused(&'static str, String),
}

/// Joins `patches` with what is stored. Answers in their order; see [`Changed`].
///
/// # Errors
/// The whole was not, or not wholly, written: to be repeated as it is.
pub async fn apply(stored: &impl Calls, patches: &[CallPatch]) -> Result<Vec<Changed>, StoreError> {
    let (written, mut owed) = write_all(stored, patches).await?;
    let joined = |n: &usize| written[*n] == Written::Joined;
    let joined: Vec<_> = (0..patches.len()).filter(joined).map(|n| &patches[n]).collect();
    let standings = stored.standings(&joined, patches.len() <= TOLD).await?;
    let mut standings = standings.into_iter();
    let changed = |(n, written)| match written {
        Written::New => {
            let transcripts_due = due(&patches[n]).into_iter().collect();
            Changed::Applied(Applied { transcripts_due, ..Applied::default() })
        }
        Written::Joined => {
            let Standing { without, status, transcript_due } = standings.next().unwrap_or_default();
            let mut transcripts_due = owed.remove(&n).unwrap_or_default();
            transcripts_due.extend(transcript_due);
            transcripts_due.sort_unstable();
            transcripts_due.dedup();
            Changed::Applied(Applied { before: without, after: status, transcripts_due })
        }
        Written::Refused(label, detail) => Changed::Refused { label, detail },
    };
    Ok(written.into_iter().enumerate().map(changed).collect())
}

/// The conversation whose transcript is owed, where `patch` is all that is known.
fn due(patch: &CallPatch) -> Option<ConversationId> {
    patch.conversation_id.clone().filter(|_| patch.transcript == Some(TranscriptState::Owed))
}

/// The same without a look at what has become of the calls.
///
/// # Errors
/// As above.
pub async fn write(stored: &impl Calls, patches: &[CallPatch]) -> Result<Vec<Written>, StoreError> {
    Ok(write_all(stored, patches).await?.0)
}

/// Conversations whose transcripts are owed, by the position of the patch that was merged into their call.
type Owed = HashMap<usize, Vec<ConversationId>>;

async fn write_all(stored: &impl Calls, patches: &[CallPatch]) -> Result<(Vec<Written>, Owed), StoreError> {
    let mut written = vec![Written::Joined; patches.len()];
    if patches.len() > TOLD {
        for n in insert(stored, patches).await? {
            written[n] = Written::New;
        }
    }
    // A command runs its statements in their order. Those that name the call go first: when one
    // links the conversation, what names only that finds the call, and no half comes into being.
    let mut order: Vec<_> = (0..patches.len()).filter(|&n| written[n] == Written::Joined).collect();
    order.sort_by_key(|&n| patches[n].call_id.is_none());
    let ordered: Vec<_> = order.iter().map(|&n| &patches[n]).collect();
    let mut collided = Vec::new();
    for (position, failure) in stored.update(&ordered).await? {
        let n = order[position];
        match failure {
            Failure::Duplicate => collided.push(n),
            Failure::Passing(code) => return Err(StoreError::Unavailable(format!("code {code}"))),
            Failure::Final(label, detail) => written[n] = Written::Refused(label, detail),
        }
    }
    // Different calls at a time, so that they do not get into each other's way.
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
    let mut merges = stream::iter(merges).buffer_unordered(MERGES);
    let mut owed = Owed::new();
    while let Some(outcomes) = merges.next().await {
        for (n, outcome) in outcomes {
            match outcome {
                Err(StoreError::Refused(why)) => {
                    let detail = format!("MongoDB refuses the change: {why}");
                    written[n] = Written::Refused("rejected_by_database", detail);
                }
                outcome => drop(owed.insert(n, outcome?)),
            }
        }
    }
    Ok((written, owed))
}

/// Stores calls that nobody has heard of, which is cheaper than the join with nothing; which. Any other is to
/// be joined, for whatever reason it is not stored.
async fn insert(stored: &impl Calls, patches: &[CallPatch]) -> Result<Vec<usize>, StoreError> {
    // What names a conversation alone may belong to a call that another patch links to it, and what was
    // placed through us has a document already.
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
