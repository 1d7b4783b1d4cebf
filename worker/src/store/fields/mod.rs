//! The fields of a document of `agent_calls` that are joined from events: one row for each.
//!
//! There are five kinds of rows:
//! - [`values::VALUES`]: the fields with one value each.
//! - [`status`]: the four fields of the status.
//! - [`outcome`]: the outcome and its claim.
//! - [`facts`]: the values of each [`Fact`].
//! - [`latest`]: for each [`Field`] the value and its key.
//!
//! These rows have two uses: [`append`] writes the fields of a patch, and [`read`] turns a document into a patch. Two
//! patches are joined by [`CallPatch::join`] alone.
//!
//! Other parts of the store own a few fields that no event brings: placements (`_placement`,
//! `_idempotencyKey`), fetched transcripts (`_transcriptError`, `_transcriptSavedAt`, `_transcriptAttempts`)
//! and conversations of one call (`sharedCallId`).

mod facts;
mod history;
mod latest;
mod outcome;
mod payloads;
mod scope;
mod status;
mod unknown_claims;
mod value;
mod values;

use mongodb::bson::{Document, RawDocumentBuf};

pub use self::unknown_claims::UnknownClaims;
use self::values::VALUES;
pub(super) use self::{
    history::{entries, read_entry},
    outcome::append as append_outcome,
    payloads::Payloads,
    scope::Scope,
    status::append as append_status,
    values::REQUEST,
};
use super::error::Unstorable;
#[cfg(doc)]
use crate::domain::call::Fact;
use crate::domain::call::{CallPatch, Field};

/// Appends the fields of `patch`. The result is the document of a new call.
///
/// # Errors
/// A value that BSON cannot hold.
pub(super) fn append(fields: &mut RawDocumentBuf, patch: &CallPatch, scope: Scope) -> Result<(), Unstorable> {
    for row in VALUES.iter().filter(|row| scope.includes(row.scope)) {
        if let Some(value) = (row.get)(patch) {
            value.append(fields, row.name)?;
        }
    }
    if let Some(claim) = &patch.status {
        status::append(fields, claim);
    }
    if let Some(claim) = &patch.outcome {
        outcome::append(fields, claim);
    }
    facts::append(fields, &patch.facts)?;
    for (field, claim) in &patch.fields {
        latest::append(fields, *field, claim)?;
    }
    Ok(())
}

/// Reads the fields of `document` as a patch. `None` if a field is missing that every call has.
pub(super) fn read(document: &Document, scope: Scope, payloads: Payloads) -> Option<CallPatch> {
    let mut patch = CallPatch::empty();
    for row in VALUES.iter().filter(|row| scope.includes(row.scope)) {
        let value = document.get(row.name.as_str());
        let is_set = value.and_then(|value| (row.set)(&mut patch, value)).is_some();
        if row.is_required && !is_set {
            return None;
        }
    }
    patch.status = status::read(document);
    patch.outcome = outcome::read(document);
    patch.facts = facts::read(document);
    patch.fields = Field::ALL
        .into_iter()
        .filter_map(|field| Some((field, latest::read(document, field, payloads)?)))
        .collect();
    // Documents of earlier versions have no suffixes of numbers.
    Some(patch.with_number_suffixes())
}

#[cfg(test)]
mod tests;
