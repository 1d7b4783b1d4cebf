//! The fields of a document of `agent_calls` that are joined from events: one row for each.
//!
//! There are five kinds of rows:
//! - [`values::VALUES`]: fields that are joined one by one. Each row has its own rule.
//! - [`status`]: the four fields of the status. The claim with the greatest key sets all four.
//! - [`outcome`]: the outcome and its claim. The claim with the greatest key prevails.
//! - [`facts`]: for each [`Fact`] the smaller or the larger value.
//! - [`latest`]: for each [`Field`] the value and its key. The latest event sets both.
//!
//! These rows have three uses: [`append`] makes the document of a new call, [`document_layer`] and
//! [`call_layers`] make the update of a known call, and [`read`] turns a document into a patch. The test of this
//! module compares the three with each other and with [`crate::domain::call::CallPatch::join`] for every row.
//!
//! Other parts of the store own a few fields that no event brings: placements (`_placement`,
//! `_idempotencyKey`), fetched transcripts (`_transcriptError`, `_transcriptSavedAt`, `_transcriptAttempts`)
//! and conversations of one call (`sharedCallId`).

mod facts;
mod history;
mod join;
mod latest;
mod literal;
mod outcome;
mod scope;
mod status;
mod value;
mod values;

use mongodb::bson::{Document, RawArrayBuf, RawBson, RawDocumentBuf, rawdoc};

pub(super) use self::{
    history::{bounded_history, extended_history, read_entry, stored_event_ids},
    join::pending_transcript_state,
    outcome::append as append_outcome,
    scope::Scope,
    status::append as append_status,
};
use self::{
    join::Join,
    value::Value,
    values::{NUMBER_SUFFIXES, VALUES},
};
use super::error::Unstorable;
#[cfg(doc)]
use crate::domain::call::Fact;
use crate::domain::call::{CallPatch, Field, NumberSuffixes};

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

/// The expressions that join the fields which a document alone has with those of `patch`, as a layer for
/// `$mergeObjects`. A later layer prevails.
///
/// # Errors
/// A value that BSON cannot hold.
pub(super) fn document_layer(patch: &CallPatch) -> Result<RawDocumentBuf, Unstorable> {
    values_layer("$", patch, Scope::Document)
}

/// The expressions that join the other fields, as further layers. The paths of the stored fields begin with
/// `within`.
///
/// # Errors
/// A value that BSON cannot hold.
pub(super) fn call_layers(within: &str, patch: &CallPatch) -> Result<Vec<RawDocumentBuf>, Unstorable> {
    let mut layers = vec![values_layer(within, patch, Scope::Call)?];
    if let Some(claim) = &patch.status {
        layers.push(status::layer(within, claim));
    }
    if let Some(claim) = &patch.outcome {
        layers.push(outcome::layer(within, claim));
    }
    if !patch.facts.is_empty() {
        layers.push(facts::layer(within, &patch.facts)?);
    }
    for (field, claim) in &patch.fields {
        layers.push(latest::layer(within, *field, claim)?);
    }
    Ok(layers)
}

/// An expression: the object of the expression `stored`, changed by `layers`.
pub(super) fn merged(stored: impl Into<RawBson>, layers: Vec<RawDocumentBuf>) -> RawDocumentBuf {
    let mut objects = RawArrayBuf::new();
    objects.push(stored.into());
    for layer in layers {
        objects.push(layer);
    }
    rawdoc! { "$mergeObjects": objects }
}

fn values_layer(within: &str, patch: &CallPatch, scope: Scope) -> Result<RawDocumentBuf, Unstorable> {
    let mut layer = RawDocumentBuf::new();
    for row in VALUES.iter().filter(|row| row.scope == scope) {
        if let Some(value) = (row.get)(patch) {
            layer.append(row.name, row.join.expression(within, row.name, value)?);
        }
    }
    Ok(layer)
}

/// The expression that adds `suffixes` to those of a document, as a layer.
pub(super) fn number_suffixes_layer(suffixes: &NumberSuffixes) -> Result<RawDocumentBuf, Unstorable> {
    Ok(rawdoc! { NUMBER_SUFFIXES: Join::Union.expression("$", NUMBER_SUFFIXES, Value::Texts(suffixes))? })
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
    patch.outcome = outcome::read(document);
    patch.facts = facts::read(document);
    patch.fields =
        Field::ALL.into_iter().filter_map(|field| Some((field, latest::read(document, field)?))).collect();
    // Documents of earlier versions have no suffixes of numbers.
    Some(patch.with_number_suffixes())
}

#[cfg(test)]
mod tests;
