//! The log line of a request. It says nothing of the body, and of an unknown path no number.

use std::{net::IpAddr, time::Instant};

use hyper::StatusCode;

use super::{
    rejection::Rejection,
    routes::{Route, Success},
};
use crate::{
    admission::source_ip::Sender,
    storage::{
        Accepted,
        publisher::{PublishError, Stored},
    },
};

/// What the log line of a request says besides its outcome.
pub(crate) struct RequestLog<'a> {
    pub trace_id: Option<&'a str>,
    pub route: Route,
    pub path: &'a str,
    pub peer: IpAddr,
    pub sender: Option<Sender>,
    pub bytes: usize,
    pub started: Instant,
}

impl RequestLog<'_> {
    fn duration_ms(&self) -> f64 {
        (self.started.elapsed().as_secs_f64() * 1e6).round() / 1e3
    }

    /// Logs that the request was served.
    pub fn accepted(&self, success: &Success) {
        let (status, route, bytes, duration_ms) =
            (StatusCode::OK.as_u16(), self.route.label(), self.bytes, self.duration_ms());
        let trace_id = self.trace_id;
        match success {
            // Its line costs as much as the rest of its way through us, and all that it says is in the answer,
            // the metrics and the trace.
            Success::Accepted { id, accepted: Accepted::Stream(Stored { sequence, duplicate }) } => {
                tracing::debug!(route, status, %id, sequence, duplicate, bytes, duration_ms, trace_id, "webhook stored");
            }
            Success::Accepted { id, accepted: Accepted::Spool { duplicate } } => {
                tracing::warn!(route, status, %id, duplicate, bytes, duration_ms, trace_id, "webhook spooled");
            }
            Success::Answer(_) => {
                tracing::info!(route, status, bytes, duration_ms, trace_id, "question answered");
            }
            Success::Placed(_) => tracing::info!(route, bytes, duration_ms, trace_id, "call placed"),
        }
    }

    /// Logs that the request was refused, and why.
    pub fn refused(&self, rejection: &Rejection) {
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
            route = self.route.label(),
            path = (self.route == Route::Unknown).then(|| printable(self.path)),
            status = status.as_u16(),
            code,
            advice = rejection.advice(),
            reason,
            broker_code,
            source = self.sender.map(|sender| tracing::field::display(sender.address)),
            peer = %self.peer,
            bytes = self.bytes,
            duration_ms = self.duration_ms(),
            trace_id = self.trace_id,
            "request refused"
        );
    }
}

/// Longest part of an unknown path that is logged.
const MAX_PATH: usize = 96;
/// A path may hold a telephone number: a run of so many digits is not logged.
const NUMBER_DIGITS: usize = 5;

/// An unknown path as it may be logged: cut, without digits in a row, and without control characters.
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
    fn an_unknown_path_is_logged_cut_and_without_numbers() {
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
