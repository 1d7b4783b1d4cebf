//! The state of a call, and how events change it. Pure.
//!
//! The state of a call is a join: [`CallPatch::join`] is commutative, associative and idempotent. So order,
//! repetition and batches of events do not matter, and neither does the number of workers.

mod claims;
pub mod conversations;
mod difference;
mod disposition;
mod fact;
mod failure;
mod field;
mod from_event;
mod history;
mod join;
mod number_suffixes;
mod outcome;
mod own_event;
mod patch;
mod placement;
mod sip;
pub mod size;
mod status;
mod transcript_state;

pub use self::{
    claims::{FieldClaim, StatusClaim},
    disposition::{Disposition, MAX_CALL, is_too_long},
    fact::{Fact, FactType, FactValue, Facts, Prevails},
    failure::{FAILURE_CLASSES, failure_class, failure_reason},
    field::Field,
    history::{HISTORY_LIMIT, HistoryEntry},
    number_suffixes::{NumberSuffixes, SUFFIX_DIGITS, digits},
    outcome::{Evidence, Outcome, OutcomeClaim, outcome, status_of_sip_code},
    own_event::{OwnEvent, unconcluded},
    patch::CallPatch,
    placement::Placement,
    sip::{is_sip_failure, sip_phrase},
    size::Attachment,
    status::Status,
    transcript_state::TranscriptState,
};

#[cfg(test)]
mod tests;
