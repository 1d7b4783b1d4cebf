//! The fields of a document of `agent_calls` that are joined from events: one row for each.
//!
//! There are three kinds of rows:
//! - [`values::VALUES`]: fields that are joined one by one. Each row says how.
//! - [`status`]: the four fields of the status. The greatest key prevails, as a whole.
//! - [`latest`]: for each [`Field`] the value and its key. The latest event prevails, as a whole.
//!
//! Everything else comes from these rows: the document of a new call ([`append`]), the update of a known one
//! ([`layers`]), the patch that a document stands for ([`read`]), and the names of the fields ([`names`]).
//! The test of this module holds the four against each other and against
//! [`crate::domain::call::CallPatch::join`] for every row.
//!
//! Other parts of the store own a few fields that no event brings: placements (`_placement`,
//! `_idempotencyKey`), fetched transcripts (`_transcriptError`, `_transcriptSavedAt`, `_transcriptAttempts`)
//! and conversations of one call (`sharedCallId`).

mod bindings;
mod history;
mod join;
mod latest;
mod literal;
mod scope;
mod status;
mod value;
mod values;

use mongodb::bson::{Document, RawDocumentBuf, raw::CStr};

use self::values::VALUES;
pub(super) use self::{
    bindings::Bindings,
    history::{read_entry, stored_event_ids},
    join::pending_transcript_state,
    scope::Scope,
    status::append as append_status,
};
use super::error::Unstorable;
use crate::domain::call::{CallPatch, Field};

/// Appends the fields of `patch`: the document of a call of which nothing else is known.
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
    for (field, claim) in &patch.fields {
        latest::append(fields, *field, claim)?;
    }
    Ok(())
}

/// The expressions that join `patch` with stored fields, as layers for `$mergeObjects`: a later layer
/// prevails. The paths of the stored fields begin with `within`.
///
/// # Errors
/// A value that BSON cannot hold.
pub(super) fn layers(
    within: &str,
    patch: &CallPatch,
    scope: Scope,
    bindings: &Bindings,
) -> Result<Vec<RawDocumentBuf>, Unstorable> {
    let mut values = RawDocumentBuf::new();
    for row in VALUES.iter().filter(|row| scope.includes(row.scope)) {
        if let Some(value) = (row.get)(patch) {
            values.append(row.name, row.join.expression(within, row.name, value)?);
        }
    }
    let mut layers = vec![values];
    if let Some(claim) = &patch.status {
        layers.push(status::layer(within, claim));
    }
    for (field, claim) in &patch.fields {
        layers.push(latest::layer(within, *field, claim, bindings.value(*field, claim)?));
    }
    Ok(layers)
}

/// The patch that the fields of `document` stand for. `None` if a field is missing that every call has.
pub(super) fn read(document: &Document, scope: Scope) -> Option<CallPatch> {
    let mut patch = CallPatch::empty();
    for row in VALUES.iter().filter(|row| scope.includes(row.scope)) {
        let value = document.get(row.name.as_str());
        let is_set = value.and_then(|value| (row.set)(&mut patch, value)).is_some();
        if row.is_required && !is_set {
            return None;
        }
    }
    patch.status = status::read(document);
    patch.fields =
        Field::ALL.into_iter().filter_map(|field| Some((field, latest::read(document, field)?))).collect();
    Some(patch)
}

/// The names of all fields.
pub(super) fn names(scope: Scope) -> impl Iterator<Item = &'static CStr> {
    let values = VALUES.iter().filter(move |row| scope.includes(row.scope)).map(|row| row.name);
    let latest = Field::ALL.into_iter().flat_map(latest::names);
    values.chain(status::NAMES).chain(latest)
}

#[cfg(test)]
mod tests;
