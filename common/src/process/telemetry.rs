//! Logs on standard error, one line per event, as JSON or text.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// Text for people.
    Text,
}

/// Default of `RUST_LOG`: lines of Aftercall, and warnings of libraries.
pub const DEFAULT_FILTER: &str = "warn,aftercall_ingest=info,aftercall_worker=info,aftercall_common=info";

/// Starts logging for this process. Does nothing if it is started already.
///
/// `filter` is the value of `RUST_LOG`. An invalid directive in it is reported and skipped.
pub fn init(format: LogFormat, filter: Option<&str>) {
    let filter = EnvFilter::builder().parse_lossy(filter.unwrap_or(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Tests that run several services in one process call this several times.
    let _already_started = match format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Text => builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
}
