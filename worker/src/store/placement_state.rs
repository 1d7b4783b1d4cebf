//! The state of a call that was placed through the API.

use jiff::Timestamp;
use mongodb::bson::Document;

use super::convert::date;

/// The state of a placement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementState {
    /// `dialling`, `placed`, `refused` or `unknown`.
    pub state: String,
    /// The code of a refusal.
    pub code: Option<String>,
    /// Digest of the request. It distinguishes two requests with the same idempotency key.
    pub digest: String,
    /// When the placement began.
    pub at: Timestamp,
}

impl PlacementState {
    /// Reads the state from the document of a call. `None` if the call was not placed through the API.
    pub(super) fn read(call: &Document) -> Option<Self> {
        let placement = call.get_document("_placement").ok()?;
        let text = |field: &str| placement.get_str(field).ok().map(str::to_owned);
        Some(Self {
            state: text("state")?,
            code: text("code"),
            digest: text("digest").unwrap_or_default(),
            at: date(placement, "at")?,
        })
    }
}
