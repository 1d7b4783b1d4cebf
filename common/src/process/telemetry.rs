//! Logs: one line an event on standard error, JSON unless text is asked for.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    #[default]
    Json,
    /// For people.
    Text,
}

/// Applied where `RUST_LOG` is not set: our own lines, and the warnings of libraries.
pub const DEFAULT_FILTER: &str = "warn,aftercall_ingest=info,aftercall_worker=info,aftercall_common=info";

/// Starts logging for this process. Does nothing when it was started before.
///
/// `filter` is the text of `RUST_LOG`; an unreadable directive in it is reported and skipped.
pub fn init(format: LogFormat, filter: Option<&str>) {
    let filter = EnvFilter::builder().parse_lossy(filter.unwrap_or(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call is a test that starts several services in one process.
    let _already_started = match format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Text => builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
}
