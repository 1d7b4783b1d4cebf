//! Settings and resources that all benchmarks share.

use std::time::Duration;

use aftercall_local::{process::Launcher, progress::Progress};

/// Settings and resources of a benchmark.
pub(super) struct Bench {
    pub launcher: Launcher,
    /// Folder for configuration, data and logs, removed at the end.
    pub folder: tempfile::TempDir,
    /// Number of times that each case is measured.
    pub rounds: u32,
    /// Duration of a measurement.
    pub time: Duration,
    /// The roles of the measured workers.
    pub roles: String,
    /// Part of the names of the cases to measure.
    pub only: String,
    pub progress: Progress,
}
