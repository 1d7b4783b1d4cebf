//! The fields of a document of `agent_calls` that are joined from events: one row for each.
//!
//! There are three kinds of rows:
//! - [`values::VALUES`]: fields that are joined one by one. Each row has its own rule.
//! - [`status`]: the four fields of the status. The claim with the greatest key sets all four.
//! - [`latest`]: for each [`Field`] the value and its key. The latest event sets both.
//!
//! Four functions use these rows: [`append`] makes the document of a new call, [`layers`] makes the update of
//! a known call, [`read`] turns a document into a patch, and [`names`] lists the fields. The test of this
//! module compares the four with each other and with [`crate::domain::call::CallPatch::join`] for every row.
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

/// Reads the fields of `document` as a patch. `None` if a field is missing that every call has.
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
