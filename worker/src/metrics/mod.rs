//! The metrics of the worker.
//!
//! `table` declares each metric in one row: field, kind, labels, name and help text. `record` has the methods
//! that update the metrics. `labels` has the label sets and the closed lists of their values.
//! `deploy/METRICS.md` explains each metric to operators; a test compares this document with a running
//! worker.

mod labels;
mod record;
mod table;

pub(crate) use self::labels::{LoginOutcome, PassOutcome, TranscriptOutcome};
pub use self::table::Metrics;
