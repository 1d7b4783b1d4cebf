//! Texts in documents and expressions.

use mongodb::bson::{RawBson, rawdoc};

/// A text as an expression. MongoDB would read a text that begins with `$` as the path of a field.
pub(super) fn literal(text: &str) -> RawBson {
    if text.starts_with('$') { rawdoc! { "$literal": text }.into() } else { text.into() }
}

/// A text, or null.
pub(super) fn text_or_null(text: Option<&str>) -> RawBson {
    text.map_or(RawBson::Null, RawBson::from)
}
