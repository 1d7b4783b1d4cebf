//! Values that a statement holds once and uses twice.
//!
//! A patch that names the call alone changes the document and its part `_call`. Both layers use the same
//! payloads. A payload can be large, so the statement holds it once and binds it to a name.

use mongodb::bson::{RawBson, RawDocumentBuf, raw::CStr, rawdoc};

use super::latest;
use crate::{
    domain::call::{CallPatch, Field, FieldClaim},
    store::error::{UNSTORABLE, Unstorable},
};

/// The bound values of a statement. Empty if each value is used once.
pub(in crate::store) struct Bindings(Option<RawDocumentBuf>);

impl Bindings {
    /// No bound values: each layer holds its own.
    pub(in crate::store) const NONE: Self = Self(None);

    /// The values of `patch` that its statement uses twice.
    pub(in crate::store) fn of(patch: &CallPatch) -> Result<Self, Unstorable> {
        if patch.is_linked() {
            return Ok(Self::NONE);
        }
        let mut variables = RawDocumentBuf::new();
        for (field, claim) in &patch.fields {
            let name: &CStr = field.name().try_into().map_err(|_error| UNSTORABLE)?;
            variables.append(name, literal(*field, claim)?);
        }
        Ok(Self(Some(variables)))
    }

    /// The expression for a value and its key: the name to which it is bound, or the value itself.
    pub(super) fn value(&self, field: Field, claim: &FieldClaim) -> Result<RawBson, Unstorable> {
        match &self.0 {
            Some(_) => Ok(format!("$${}", field.name()).into()),
            None => literal(field, claim),
        }
    }

    /// `expression`, inside a `$let` that binds the names to the values.
    pub(in crate::store) fn bind(&self, expression: RawDocumentBuf) -> RawDocumentBuf {
        match &self.0 {
            Some(variables) => rawdoc! { "$let": { "vars": variables.clone(), "in": expression } },
            None => expression,
        }
    }
}

fn literal(field: Field, claim: &FieldClaim) -> Result<RawBson, Unstorable> {
    let mut fields = RawDocumentBuf::new();
    latest::append(&mut fields, field, claim)?;
    Ok(rawdoc! { "$literal": fields }.into())
}
