//! The claims of events about the status and the fields of a call, and the keys that decide which claim
//! prevails.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::{field::Field, status::Status};

/// A status that an event claims, and the key by which two such claims are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusClaim {
    /// The status.
    pub status: Status,
    /// Time of the event.
    pub at: Timestamp,
    /// Id of the event. It decides between claims of equal rank and time, so that the order is total.
    pub event_id: String,
    /// The reason of a failure.
    pub failure_reason: Option<String>,
}

impl StatusClaim {
    /// The key of the claim. Of two claims, the claim with the greater key prevails.
    pub fn key(&self) -> (i32, Timestamp, &str) {
        (self.status.rank(), self.at, &self.event_id)
    }
}

/// The value of a [`super::Field`] that an event brings, and the key by which two such values are compared.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldClaim {
    /// Time of the event.
    pub at: Timestamp,
    /// Id of the event.
    pub event_id: String,
    /// The value.
    pub value: Value,
}

impl FieldClaim {
    /// The key of the value. Of two values, the value with the greater key prevails.
    pub(super) fn key(&self) -> (Timestamp, &str) {
        (self.at, &self.event_id)
    }
}

/// Joins the values of fields: for each field the latest event prevails.
pub(super) fn join_fields(ours: &mut BTreeMap<Field, FieldClaim>, theirs: BTreeMap<Field, FieldClaim>) {
    for (field, theirs) in theirs {
        match ours.get(&field) {
            Some(ours) if ours.key() >= theirs.key() => {}
            _ => drop(ours.insert(field, theirs)),
        }
    }
}
