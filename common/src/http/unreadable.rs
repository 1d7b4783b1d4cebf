//! Connections without a valid request: the reason, the answer, the metric and the log line.
//!
//! A misconfigured load balancer loses every webhook in this way. Each such connection is therefore counted,
//! answered where HTTP allows it, and logged with the setting to change.
//!
//! Invariants:
//! - Each source is logged at most once per minute.
//! - The number of remembered sources is bounded.
//! - Log lines and answers contain nothing that the peer has sent.

use std::{
    fmt,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

use super::{per_source::source_of, proxy_protocol, source_log::SourceLog};

/// Number of remembered sources. Connections of further sources are counted, but not logged.
const MAX_SOURCES: usize = 1024;
/// First bytes of HTTP/2.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2";
/// First bytes of TLS: a handshake record (22) of major version 3.
const TLS_HANDSHAKE: &[u8] = b"\x16\x03";
/// Codings of `Transfer-Encoding` that compress.
const COMPRESSIONS: [&str; 7] = ["gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd"];

/// The reason why a connection has no valid request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The connection begins with a PROXY header, which is not expected from this peer.
    ProxyProtocol,
    /// The connection does not begin with a valid PROXY header, which is expected from this peer.
    ProxyHeaderMissing,
    /// The connection uses TLS, and the listener does not.
    Tls,
    /// The connection does not use TLS, and the listener does.
    NotTls,
    /// The connection uses HTTP/2 without negotiation.
    Http2,
    /// The request head has too many bytes or lines.
    HeadTooLarge,
    /// The request is compressed by `Transfer-Encoding`.
    TransferEncoding,
    /// The bytes are not an HTTP/1.1 request, for another reason.
    Malformed,
}

impl Reason {
    const ALL: [Self; 8] = [
        Self::ProxyProtocol,
        Self::ProxyHeaderMissing,
        Self::Tls,
        Self::NotTls,
        Self::Http2,
        Self::HeadTooLarge,
        Self::TransferEncoding,
        Self::Malformed,
    ];

    /// The reason for a connection whose head hyper would have answered with `status`. `opening`: its first bytes,
    /// empty once a request has been read.
    pub(super) fn of(opening: &[u8], status: u16) -> Self {
        if opening.starts_with(proxy_protocol::V1_PREFIX)
            || opening.starts_with(&proxy_protocol::V2_SIGNATURE)
        {
            Self::ProxyProtocol
        } else if opening.starts_with(TLS_HANDSHAKE) {
            Self::Tls
        } else if opening.starts_with(HTTP2_PREFACE) {
            Self::Http2
        } else if matches!(status, 414 | 431) {
            Self::HeadTooLarge
        } else if opening.split(|&byte| byte == b'\n').any(is_compressed) {
            Self::TransferEncoding
        } else {
            Self::Malformed
        }
    }

    /// Label of the metric, and `code` of the problem document.
    pub fn label(self) -> &'static str {
        match self {
            Self::ProxyProtocol => "proxy_protocol",
            Self::ProxyHeaderMissing => "proxy_header_missing",
            Self::Tls => "tls",
            Self::NotTls => "not_tls",
            Self::Http2 => "http2",
            Self::HeadTooLarge => "head_too_large",
            Self::TransferEncoding => "unsupported_transfer_encoding",
            Self::Malformed => "malformed",
        }
    }

    /// The problem and its solution, for the log and for the peer.
    fn advice(self) -> &'static str {
        match self {
            Self::ProxyProtocol => {
                "The connection begins with a header of the PROXY protocol. Set PROXY_PROTOCOL=true and name the load balancer in TRUSTED_PROXIES, or switch the protocol off at the load balancer."
            }
            Self::ProxyHeaderMissing => {
                "PROXY_PROTOCOL is true, and a connection from a trusted proxy does not begin with a header of that protocol. Switch the protocol on at the load balancer, for its health checks as well."
            }
            Self::Tls => {
                "The connection speaks TLS to a port without TLS. Set TLS_CERT_FILE and TLS_KEY_FILE, or end TLS at the load balancer."
            }
            Self::NotTls => "The connection does not speak TLS to a port with TLS. Use https.",
            Self::Http2 => "The connection speaks HTTP/2. Only HTTP/1.1 is served here.",
            Self::HeadTooLarge => {
                "The request head is too large: at most 100 header lines and 64 KiB are accepted."
            }
            Self::TransferEncoding => {
                "The only transfer coding accepted is chunked; use Content-Encoding to compress a body."
            }
            Self::Malformed => "The bytes received are not an HTTP/1.1 request.",
        }
    }

    /// The bytes to send to the peer. `status` is the status of the answer that hyper would have sent, if
    /// any.
    pub(super) fn answer(self, status: Option<u16>) -> Vec<u8> {
        if self == Self::Http2 {
            return go_away(self.advice());
        }
        let (status, title) = match (self, status) {
            (Self::TransferEncoding, _) => (501, "Not Implemented"),
            (_, Some(414)) => (414, "URI Too Long"),
            (_, Some(431)) => (431, "Request Header Fields Too Large"),
            _ => (400, "Bad Request"),
        };
        let body = serde_json::json!({
            "type": "about:blank",
            "title": title,
            "status": status,
            "code": self.label(),
            "detail": self.advice(),
        })
        .to_string();
        let length = body.len();
        format!(
            "HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// Whether a header line names a transfer coding that compresses.
fn is_compressed(line: &[u8]) -> bool {
    const NAME: &[u8] = b"transfer-encoding:";
    let Some((name, value)) = line.split_at_checked(NAME.len()) else { return false };
    name.eq_ignore_ascii_case(NAME) && compresses(value)
}

/// Whether the value of `Transfer-Encoding` names a coding that compresses. Other codings except `chunked`
/// are refused as malformed.
pub fn compresses(transfer_encoding: &[u8]) -> bool {
    let mut codings = transfer_encoding.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    codings.any(|coding| COMPRESSIONS.iter().any(|known| coding.eq_ignore_ascii_case(known.as_bytes())))
}

/// Frames of HTTP/2 (RFC 9113): an empty SETTINGS, then GOAWAY with `HTTP_1_1_REQUIRED` and `words` as the
/// reason.
fn go_away(words: &str) -> Vec<u8> {
    const HTTP_1_1_REQUIRED: u8 = 0x0d;
    let length = u8::try_from(8 + words.len()).unwrap_or(8);
    let words = if length == 8 { "" } else { words };
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let frame = [0, 0, length, 7, 0, 0, 0, 0, 0];
    let last_stream_and_error = [0, 0, 0, 0, 0, 0, 0, HTTP_1_1_REQUIRED];
    [&settings[..], &frame, &last_stream_and_error, words.as_bytes()].concat()
}

/// Labels of the metric.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct UnreadableLabels {
    /// See [`Reason::label`].
    pub reason: &'static str,
}

impl UnreadableLabels {
    /// The labels of every reason.
    pub fn all() -> impl Iterator<Item = Self> {
        Reason::ALL.into_iter().map(|reason| Self { reason: reason.label() })
    }
}

/// Counts and logs the connections of a listener that have no valid request.
pub struct Unreadable {
    counts: Family<UnreadableLabels, Counter>,
    log: Mutex<SourceLog>,
}

impl Unreadable {
    /// Counts in `counts`.
    pub fn new(counts: Family<UnreadableLabels, Counter>) -> Self {
        Self { counts, ..Self::default() }
    }

    /// Counts a connection of `peer`. Logs it unless its source was logged within the last minute.
    pub(super) fn report(&self, reason: Reason, peer: IpAddr) {
        self.counts.get_or_create(&UnreadableLabels { reason: reason.label() }).inc();
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.record(source_of(peer), Instant::now()).is_some() {
            tracing::warn!(%peer, reason = reason.label(), "connection without a valid request: {}", reason.advice());
        }
    }
}

impl Default for Unreadable {
    fn default() -> Self {
        Self { counts: Family::default(), log: Mutex::new(SourceLog::new(MAX_SOURCES)) }
    }
}

impl fmt::Debug for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unreadable").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_follows_from_the_first_bytes_and_the_status() {
        let gzip = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: GZIP\r\n\r\n";
        #[rustfmt::skip]
        let table: [(&[u8], u16, &str, u16); 10] = [
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 5000 443\r\n", 400, "proxy_protocol", 400),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11",               400, "proxy_protocol", 400),
            (b"\x16\x03\x01\x02\x00\x01",                   400, "tls",            400),
            (b"GET / HTTP/1.1\r\n",                         431, "head_too_large", 431),
            (b"GET / HTTP/1.1\r\n",                         414, "head_too_large", 414),
            (gzip,                                          400, "unsupported_transfer_encoding", 501),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n", 400, "malformed", 400),
            (b"POST / HTTP/1.1\r\nX: Transfer-Encoding: gzip\r\n",  400, "malformed", 400),
            (b"\0\0\0",                                     400, "malformed",      400),
            (b"",                                           400, "malformed",      400),
        ];
        for (opening, status, label, answered) in table {
            let reason = Reason::of(opening, status);
            assert_eq!(reason.label(), label, "{}", opening.escape_ascii());
            let answer = String::from_utf8(reason.answer(Some(status))).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {answered} ")), "{head}");
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
            let problem: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!((&problem["code"], &problem["status"]), (&label.into(), &answered.into()));
        }
        assert_eq!(Reason::of(b"PRI * HTTP/2.0\r\n\r\n", 400), Reason::Http2);
        let frames = Reason::Http2.answer(None);
        assert_eq!((frames[3], frames[12], frames[25]), (4, 7, 0x0d), "SETTINGS, GOAWAY, HTTP_1_1_REQUIRED");
        assert_eq!(frames.len(), 9 + 9 + usize::from(frames[11]));
    }
}
