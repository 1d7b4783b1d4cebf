//! The value of a field.

use jiff::Timestamp;
use mongodb::bson::{RawArrayBuf, RawDocumentBuf, raw::CStr};
use serde_json::{Map, Value as Json};

use super::history;
use crate::{
    domain::call::{HistoryEntry, NumberSuffixes},
    store::{
        convert::{bson_date, json_to_raw},
        error::{UNSTORABLE, Unstorable},
    },
};

/// The value of a field in a patch.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    /// A BSON date.
    Date(Timestamp),
    /// A text.
    Text(&'a str),
    /// Texts, each once, in ascending order.
    Texts(&'a NumberSuffixes),
    /// An object of a sender.
    Object(&'a Map<String, Json>),
    /// Events of the call.
    History(&'a [HistoryEntry]),
}

impl Value<'_> {
    /// Appends the value as a field of a document.
    pub(super) fn append(&self, fields: &mut RawDocumentBuf, name: &CStr) -> Result<(), Unstorable> {
        match self {
            Self::Date(time) => fields.append(name, bson_date(*time)),
            Self::Text(text) => fields.append(name, *text),
            Self::Texts(texts) => fields.append(name, texts.iter().collect::<RawArrayBuf>()),
            Self::Object(object) => fields.append(name, json_to_raw(object).ok_or(UNSTORABLE)?),
            Self::History(entries) => fields.append(name, history::sorted(entries)),
        }
        Ok(())
    }
}
