//! The log line of a request. It contains no part of the body, and no telephone number from an unknown path.

use std::time::Instant;

use aftercall_common::process::success_log::{MAX_LINES, SuccessLog, Sums};
use hyper::StatusCode;

use super::{rejection::Rejection, request::RequestHead, routes::Route, success::Success};
use crate::{
    config::SpoolMode,
    storage::{
        Accepted,
        publisher::{PublishError, Stored},
    },
};

/// The parts of a log line that do not depend on the outcome.
pub(crate) struct RequestLog<'a> {
    pub head: &'a RequestHead,
    pub trace_id: Option<&'a str>,
    /// Bytes of the body that were read.
    pub bytes: usize,
}

impl RequestLog<'_> {
    fn duration_ms(&self) -> f64 {
        (self.head.started.elapsed().as_secs_f64() * 1e6).round() / 1e3
    }

    /// Logs that the request was served. `successes` bounds the lines of stored and spooled webhooks.
    pub fn success(&self, success: &Success, successes: &SuccessLog) {
        let status = StatusCode::OK.as_u16();
        let (route, bytes, duration_ms) = (self.head.route.label(), self.bytes, self.duration_ms());
        let (trace_id, request_id) = (self.trace_id, self.head.id.to_str().unwrap_or_default());
        match success {
            // Bounded, because this line costs as much as the rest of the request.
            Success::Accepted { id, accepted: Accepted::Stream(Stored { sequence, duplicate }) } => {
                let kind = if *duplicate { DUPLICATE } else { route };
                if tracing::enabled!(tracing::Level::DEBUG) || successes.has_line(kind, Instant::now()) {
                    tracing::info!(route, status, %id, sequence, duplicate, bytes, duration_ms, trace_id, request_id, "webhook stored");
                }
            }
            Success::Accepted { id, accepted: Accepted::Spool { duplicate, mode: SpoolMode::First } } => {
                let kind = if *duplicate { DUPLICATE } else { route };
                if tracing::enabled!(tracing::Level::DEBUG) || successes.has_line(kind, Instant::now()) {
                    tracing::info!(route, status, %id, spooled = true, duplicate, bytes, duration_ms, trace_id, request_id, "webhook stored");
                }
            }
            Success::Accepted { id, accepted: Accepted::Spool { duplicate, mode: SpoolMode::Fallback } } => {
                if tracing::enabled!(tracing::Level::DEBUG) || successes.has_line(SPOOLED, Instant::now()) {
                    tracing::warn!(route, status, %id, duplicate, bytes, duration_ms, trace_id, request_id, "webhook spooled");
                }
            }
            Success::Status(_) => {
                tracing::info!(
                    route,
                    status,
                    bytes,
                    duration_ms,
                    trace_id,
                    request_id,
                    "status of a call answered"
                );
            }
            Success::Placed(placed) => {
                let is_replayed = placed.is_replayed;
                tracing::info!(route, bytes, duration_ms, trace_id, request_id, is_replayed, "call placed");
            }
            Success::Read(answer) => {
                let status = answer.status().as_u16();
                tracing::info!(route, status, duration_ms, trace_id, request_id, "stored calls answered");
            }
            Success::Description { .. } | Success::Options { .. } => {
                tracing::debug!(route, duration_ms, request_id, "description of a route answered");
            }
        }
    }

    /// Logs that the request was refused, and why.
    pub fn rejection(&self, rejection: &Rejection) {
        let Self { head, trace_id, bytes } = *self;
        let (status, code) = rejection.code();
        let reason = match rejection {
            Rejection::NotStored(error) => Some(error.label()),
            _ => None,
        };
        let broker_code = match rejection {
            Rejection::NotStored(PublishError::Refused(code)) => Some(*code),
            _ => None,
        };
        tracing::warn!(
            route = head.route.label(),
            path = (head.route == Route::Unknown).then(|| printable(head.parts.uri.path())),
            status = status.as_u16(),
            code,
            advice = rejection.advice(),
            reason,
            broker_code,
            source = head.sender.ok().map(|sender| tracing::field::display(sender.address)),
            peer = %head.peer,
            bytes,
            duration_ms = self.duration_ms(),
            trace_id,
            request_id = head.id.to_str().unwrap_or_default(),
            "request refused"
        );
    }
}

/// The kind of a webhook that was stored before.
const DUPLICATE: &str = "duplicate";
/// The kind of a webhook that waits in the spool.
const SPOOLED: &str = "spooled";

/// Logs the number of stored webhooks that have no line of their own.
pub(crate) fn log_sums(sums: &Sums) {
    let webhooks = sums.total();
    tracing::info!(webhooks, kinds = %sums, "webhooks stored beyond the {MAX_LINES} that have a line in one second");
}

/// Longest part of an unknown path that is logged, in bytes.
const MAX_PATH: usize = 96;
/// A run of at least this many digits may be a telephone number, and is not logged.
const NUMBER_DIGITS: usize = 5;

/// An unknown path for the log: cut, and without long numbers and control characters.
fn printable(path: &str) -> String {
    let mut shown = String::with_capacity(MAX_PATH);
    for run in
        path.as_bytes()[..path.len().min(MAX_PATH)].chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit())
    {
        if run.len() >= NUMBER_DIGITS && run[0].is_ascii_digit() {
            shown.push('#');
        } else {
            shown
                .extend(run.iter().map(|&byte| if byte.is_ascii_graphic() { char::from(byte) } else { '?' }));
        }
    }
    if path.len() > MAX_PATH {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_path_is_logged_cut_and_without_numbers() {
        for (path, shown) in [
            ("/api/webhooks/elevenlabs/call%2Dstatus", "/api/webhooks/elevenlabs/call%2Dstatus"),
            ("/calls/+15005550006/x", "/calls/+#/x"),
            ("/a\u{1b}[2Jé", "/a?[2J??"),
            (&"/x".repeat(100), &format!("{}…", "/x".repeat(48))),
        ] {
            assert_eq!(printable(path), shown);
        }
    }
}
