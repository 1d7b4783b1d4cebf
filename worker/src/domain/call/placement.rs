//! The placement of a call.

use serde_json::{Map, Value};

use crate::domain::event::PlacementId;

/// The placement of an outbound call that was placed through the API.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// The id of the placement. It travels to ElevenLabs and back as a dynamic variable.
    pub id: PlacementId,
    /// The request to ElevenLabs. A webhook does not know it.
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
