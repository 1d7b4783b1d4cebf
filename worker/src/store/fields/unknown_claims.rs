//! Stored claims with a word that this version does not know, because a newer worker wrote them. While two versions run
//! side by side, the older one must not replace such a claim by a lesser one.

use jiff::Timestamp;
use mongodb::bson::{Document, raw::CStr};

use super::{outcome, status};
use crate::{
    domain::call::CallPatch,
    store::convert::{date, whole_number},
};

/// Rank, time and event id of a claim. The greatest one prevails.
type ClaimKey = (i32, Timestamp, String);

/// The stored claims of one document with a word that this version does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnknownClaims {
    status: Option<ClaimKey>,
    outcome: Option<ClaimKey>,
}

impl UnknownClaims {
    pub(in crate::store) fn read(document: &Document) -> Self {
        let key = |name: &CStr, at: Option<Timestamp>| {
            let key = document.get_document(name.as_str()).ok()?;
            let rank = i32::try_from(whole_number(key, "rank")?).ok()?;
            Some((rank, at.or_else(|| date(key, "at"))?, key.get_str("eventId").ok()?.to_owned()))
        };
        let status_at = || date(document, status::UPDATED_AT.as_str());
        Self {
            status: status::read(document).map_or_else(|| key(status::KEY, status_at()), |_| None),
            outcome: outcome::read(document).map_or_else(|| key(outcome::CLAIM, None), |_| None),
        }
    }

    /// `patch` without the claims that are less than these.
    pub(in crate::store) fn prevailing(&self, mut patch: CallPatch) -> CallPatch {
        let is_less = |own: (i32, Timestamp, &str), unknown: &Option<ClaimKey>| {
            unknown.as_ref().is_some_and(|(rank, at, event_id)| own < (*rank, *at, event_id))
        };
        patch.status = patch.status.filter(|claim| !is_less(claim.key(), &self.status));
        patch.outcome = patch.outcome.filter(|claim| !is_less(claim.key(), &self.outcome));
        patch
    }
}
