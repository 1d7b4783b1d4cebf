//! Calls in MongoDB: the collection `agent_calls`.
//!
//! Each change is a [`crate::domain::call::CallPatch`] that is joined with the stored call in one update
//! statement. The filter of the statement only compares ids for equality. So a statement may be repeated and
//! reordered, and many workers may run statements at the same time. In a backlog, a call that is not stored
//! yet is inserted directly, with the same result: see `insert`. A write is durable when a majority of the
//! servers has it in its journal.

mod answer;
mod apply;
mod audit;
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
mod of_call;
mod outcomes;
mod placement_state;
mod placements;
mod preview;
mod reconciliation;
mod recordings;
mod registration_problems;
mod report;
mod revision;
mod statement;
mod statistics;
mod suspects;
mod transcripts;
mod update;
pub mod views;

pub use self::{
    answer::{Include, STATUS_FIELDS, answer_json, call_json, json_fields},
    apply::{Applied, Changed, Written, apply, write},
    call_view::CallView,
    calls::{Calls, PatchOutcome, PendingTranscript},
    change_stream::{CallChange, CallChanges, ChangesError, Position},
    connection::Store,
    convert::value_to_bson,
    deliver::{ScanPage, Scanned},
    deliveries::{DeliveryFilter, DeliveryRecord},
    delivery_figures::DeliveryFigures,
    erase::content_of,
    error::{Failure, StoreError},
    export::{ExportFilter, ExportPage, ExportPages, csv_header, csv_rows, mask_numbers},
    files::fetched_transcript,
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
    statement::statement,
    statistics::{Group, Grouping, MAX_GROUPS, Statistics, Sums, statistics},
    transcripts::TranscriptResolution,
};
