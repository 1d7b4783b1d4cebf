//! Calls in MongoDB: the collection `agent_calls`.
//!
//! Each change is a [`crate::domain::call::CallPatch`]. The worker reads the stored call, joins it with the patch, and
//! writes the difference if the document still has the revision that was read. So a change may be repeated and reordered,
//! and many workers may change the same call at the same time. A write is durable when a majority of the servers has it in
//! its journal.

mod answer;
mod applied;
mod apply;
mod audit;
mod call_part;
mod call_update;
mod call_view;
mod calls;
mod change_stream;
mod changes;
mod command;
mod connection;
mod convert;
mod deliver;
mod deliveries;
mod delivery_figures;
mod endpoints;
mod erase;
mod error;
mod export;
mod fields;
mod files;
mod indexes;
mod insert;
mod key;
mod leases;
mod lookup;
mod merge;
mod mongo_calls;
mod notes;
mod number_suffixes;
mod placement_state;
mod placements;
mod preview;
mod reconciliation;
mod recordings;
mod registration_problems;
mod report;
mod revision;
mod statistics;
mod stored_call;
mod suspects;
mod transcripts;
pub mod views;

pub use mongodb::bson::oid::ObjectId;

pub use self::{
    answer::{Include, STATUS_FIELDS, answer_json, call_json, json_fields},
    applied::Applied,
    apply::{PatchResult, apply},
    call_update::CallUpdate,
    call_view::CallView,
    calls::{Calls, PendingTranscript},
    change_stream::{CallChange, CallChanges, ChangesError, Position},
    connection::Store,
    convert::value_to_bson,
    deliver::{ScanPage, Scanned},
    deliveries::{DeliveryFilter, DeliveryRecord},
    delivery_figures::DeliveryFigures,
    erase::content_of,
    error::{Failure, StoreError},
    export::{ExportFilter, ExportPage, ExportPages, csv_header, csv_rows, mask_numbers},
    fields::UnknownClaims,
    files::fetched_transcript,
    insert::new_document,
    key::Key,
    leases::Lease,
    notes::{NoteWrite, NotedCall},
    number_suffixes::FillState,
    placement_state::PlacementState,
    placements::{NewPlacement, PlacementResult, PlacementStart},
    preview::{Difference, Preview},
    recordings::{RecordingState, RecordingUpload, fetched_recording},
    registration_problems::RegistrationCheck,
    report::{Plan, Question, calls_of_batch, calls_of_conversations, questions},
    statistics::{Group, Grouping, MAX_GROUPS, Statistics, Sums, statistics},
    stored_call::StoredCall,
    transcripts::TranscriptResolution,
};
