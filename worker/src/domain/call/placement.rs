//! The placement of a call.

use serde_json::{Map, Value};

use crate::domain::event::PlacementId;

/// The placement of an outbound call that was placed through the API.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// The id of the placement. ElevenLabs receives it as a dynamic variable and returns it in its webhooks.
    pub id: PlacementId,
    /// The request to ElevenLabs. `None` in the patch of a webhook, which does not contain the request.
    pub request: Option<Map<String, Value>>,
}

/// Joins two placements: the smaller id prevails, as for the other identifiers, together with its request.
pub(super) fn join_placements(a: Option<Placement>, b: Option<Placement>) -> Option<Placement> {
    match (a, b) {
        (Some(a), Some(b)) if a.id == b.id => Some(Placement { id: a.id, request: a.request.or(b.request) }),
        (Some(a), Some(b)) => Some(if a.id < b.id { a } else { b }),
        (a, b) => a.or(b),
    }
}
