//! The rules that join a stored value and the value of a patch, as expressions that the server evaluates.
//!
//! Each join is commutative, associative and idempotent, except [`Join::First`]: a stored id never changes.

use mongodb::bson::{
    RawArrayBuf, RawBson, RawDocumentBuf,
    raw::{CStr, cstr},
    rawdoc,
};

use super::{history, value::Value};
use crate::{domain::call::TranscriptState, store::error::Unstorable};

/// The field with the state of the transcript.
pub(super) const TRANSCRIPT_STATE: &CStr = cstr!("transcriptState");

/// The rule that joins a stored value and the value of a patch.
#[derive(Clone, Copy, Debug)]
pub(super) enum Join {
    /// The stored value stays. The call is found by this value, and changing it would lose the document.
    First,
    /// The smaller value prevails.
    Smallest,
    /// The smaller value prevails. If the field is not stored, the value of this other field is used in its
    /// place.
    SmallestOr(&'static CStr),
    /// The larger value prevails.
    Largest,
    /// The later state of a transcript prevails.
    FurthestTranscript,
    /// The texts of both, each once, in ascending order.
    Union,
    /// The union of both histories.
    Events,
}

impl Join {
    /// The expression for the field `name`. The path of the stored value is `within` followed by `name`.
    pub(super) fn expression(
        self,
        within: &str,
        name: &CStr,
        value: Value<'_>,
    ) -> Result<RawBson, Unstorable> {
        let path = format!("{within}{name}");
        Ok(match self {
            Self::First => rawdoc! { "$ifNull": [path, value.expression()?] }.into(),
            Self::Smallest => rawdoc! { "$min": [path, value.expression()?] }.into(),
            Self::SmallestOr(other) => {
                let stored = rawdoc! { "$ifNull": [path, format!("{within}{other}")] };
                rawdoc! { "$min": [stored, value.expression()?] }.into()
            }
            Self::Largest => rawdoc! { "$max": [path, value.expression()?] }.into(),
            Self::FurthestTranscript => furthest(&path, value.expression()?).into(),
            Self::Union => {
                // `$setUnion` promises no order.
                let union = rawdoc! { "$setUnion": [{ "$ifNull": [path, []] }, value.expression()?] };
                rawdoc! { "$sortArray": { "input": union, "sortBy": 1 } }.into()
            }
            Self::Events => history::union(&path, value.expression()?).into(),
        })
    }
}

/// The stored state of the transcript, or [`TranscriptState::Pending`] if none is stored.
pub(in crate::store) fn pending_transcript_state() -> RawDocumentBuf {
    furthest(&format!("${TRANSCRIPT_STATE}"), TranscriptState::Pending.as_str().into())
}

/// The state at `path` if it is later than `word`, else `word`.
fn furthest(path: &str, word: RawBson) -> RawDocumentBuf {
    let words = TranscriptState::ALL.map(TranscriptState::as_str).into_iter();
    let later: RawArrayBuf = words.skip_while(|state| word.as_str() != Some(*state)).skip(1).collect();
    let stays = rawdoc! { "$in": [path, later] };
    rawdoc! { "$cond": [stays, path, word] }
}
