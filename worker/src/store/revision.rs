//! `revision`: a number that grows with each change of a document.
//!
//! A revision is at least the time of its change, in milliseconds since 1970 by the clock of the worker. So
//! the calls that changed since a time are those with at least this revision.

use jiff::Timestamp;
use mongodb::bson::{
    Document, doc,
    raw::{CStr, cstr},
};

/// Name of the field. Documents of earlier versions do not have it.
pub(super) const NAME: &CStr = cstr!("revision");

/// The revision of a document that is created or replaced at `now`. `before`: the revisions of the documents
/// that it replaces.
pub(super) fn next(before: impl IntoIterator<Item = i64>, now: Timestamp) -> i64 {
    before.into_iter().map(|revision| revision.saturating_add(1)).fold(now.as_millisecond(), i64::max)
}

/// A stage of an update at `now` that makes the revision grow.
pub(super) fn stage(now: Timestamp) -> Document {
    doc! { "$set": { "revision": { "$max": [{ "$add": ["$revision", 1_i64] }, now.as_millisecond()] } } }
}

/// The revision of a stored call.
pub(super) fn read(call: &Document) -> Option<i64> {
    call.get_i64(NAME.as_str()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_grows_even_if_the_clock_went_back() {
        let now = Timestamp::from_millisecond(1000).unwrap();
        assert_eq!(next([], now), 1000);
        assert_eq!(next([7, 999], now), 1000);
        assert_eq!(next([7, 1000], now), 1001);
        assert_eq!(next([2000, 3], now), 2001);
    }
}
