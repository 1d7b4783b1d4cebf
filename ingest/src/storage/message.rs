//! The message that carries a webhook: its id, its headers, and the unchanged bytes of its body. Pure.
//!
//! Invariants:
//! - A value from the sender cannot add or change another header.
//! - The headers of one message never take more than [`MAX_HEADER_BYTES`].

use std::net::IpAddr;

use aftercall_common::{
    contract::{provider::Provider, streams::header as ours},
    process::trace,
};
use async_nats::{HeaderMap, HeaderName, Subject, header::NATS_MESSAGE_ID};
use hyper::header::HeaderValue;
use jiff::Timestamp;

pub use crate::admission::webhook_id::{WebhookId, webhook_id};
use crate::admission::{body::Body, signature::Signature};

/// Bytes that are reserved for the headers of a message, including the headers of its batch.
pub const MAX_HEADER_BYTES: usize = 8192;
/// Longest value of a sender's header that is kept, in bytes. Real values take about a tenth of it.
const MAX_KEPT_VALUE: usize = 1024;
/// Longest query of a callback's URL that is kept, in bytes.
const MAX_QUERY: usize = 2048;

/// A webhook to store.
#[derive(Debug)]
pub struct Webhook {
    /// The subject of the message.
    pub subject: Subject,
    /// The id of the webhook. The headers hold it too.
    pub id: WebhookId,
    /// The headers of the message.
    pub headers: HeaderMap,
    /// The body. Empty if the body is in the object store.
    pub body: Body,
}

/// The headers of the message that carries a webhook.
///
/// Of the request's headers, `Content-Type`, `traceparent` and the signatures of all providers are kept if they are
/// printable ASCII of at most 1,024 bytes. A `traceparent` must also be well formed.
pub fn headers(
    id: WebhookId,
    request: &hyper::HeaderMap,
    source: IpAddr,
    signature: Signature,
    received_at: Timestamp,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, id.to_string());
    headers.insert(HeaderName::from_static(ours::RECEIVED_AT), format!("{received_at:.6}"));
    headers.insert(HeaderName::from_static(ours::SOURCE_IP), source.to_string());
    headers.insert(HeaderName::from_static(ours::SIGNATURE), signature.label());
    let signatures = Provider::ALL.iter().map(|provider| provider.signature_header());
    let kept = [ours::CONTENT_TYPE, ours::TRACEPARENT].into_iter().chain(signatures);
    for name in kept {
        let value =
            text(request.get(name)).filter(|value| name != ours::TRACEPARENT || trace::is_traceparent(value));
        if let Some(value) = value {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

/// The header that carries the query of a callback's URL. `None` if the query is missing, empty, too long or
/// not printable ASCII.
pub fn query_header(query: Option<&str>) -> Option<(HeaderName, &str)> {
    let is_kept = |query: &&str| {
        (1..=MAX_QUERY).contains(&query.len()) && query.bytes().all(|byte| byte.is_ascii_graphic())
    };
    Some((HeaderName::from_static(ours::QUERY), query.filter(is_kept)?))
}

/// The value, if it is printable ASCII (spaces included) and not too long.
fn text(value: Option<&HeaderValue>) -> Option<&str> {
    let value = value?.to_str().ok()?;
    let printable = value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    (printable && value.len() <= MAX_KEPT_VALUE).then_some(value)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn built(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let request = pairs
            .iter()
            .map(|&(name, value)| {
                (hyper::header::HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
            })
            .collect();
        let received_at = "2026-11-22T10:00:00.123456789Z".parse().unwrap();
        headers(
            webhook_id("/p", &[Bytes::from_static(b"{}")]),
            &request,
            "9.9.9.9".parse().unwrap(),
            Signature::Verified,
            received_at,
        )
    }

    fn value(headers: &HeaderMap, name: &'static str) -> Option<String> {
        headers.get(HeaderName::from_static(name)).map(ToString::to_string)
    }

    #[test]
    fn headers_hold_the_time_the_source_and_the_signature_result() {
        let headers = built(&[
            ("content-type", b"application/json; charset=utf-8"),
            ("elevenlabs-signature", b"t=1,v0=ab"),
            ("traceparent", TRACE.as_bytes()),
            ("x-other", b"not kept"),
        ]);
        for (name, expected) in [
            (ours::RECEIVED_AT, "2026-11-22T10:00:00.123456Z"),
            (ours::SOURCE_IP, "9.9.9.9"),
            (ours::SIGNATURE, "verified"),
            (ours::CONTENT_TYPE, "application/json; charset=utf-8"),
            (ours::ELEVENLABS_SIGNATURE, "t=1,v0=ab"),
            (ours::TRACEPARENT, TRACE),
        ] {
            assert_eq!(value(&headers, name).as_deref(), Some(expected), "{name}");
        }
        assert_eq!(headers.len(), 7);
    }

    #[test]
    fn unprintable_long_or_malformed_values_are_not_kept() {
        let long = vec![b'a'; MAX_KEPT_VALUE + 1];
        for bad in [&b"caf\xc3\xa9"[..], b"tab\there", &long] {
            let headers =
                built(&[("content-type", bad), ("elevenlabs-signature", bad), ("traceparent", bad)]);
            assert_eq!(headers.len(), 4, "{bad:?}");
        }
    }

    #[test]
    fn the_longest_headers_fit_the_reserved_bytes() {
        let full = vec![b'a'; MAX_KEPT_VALUE];
        let headers = built(&[
            ("content-type", &full),
            ("elevenlabs-signature", &full),
            ("x-twilio-signature", &full),
            ("traceparent", TRACE.as_bytes()),
        ]);
        let bytes: usize = headers
            .iter()
            .map(|(name, values)| {
                AsRef::<str>::as_ref(name).len() + values.iter().map(|v| v.as_str().len()).sum::<usize>() + 4
            })
            .sum();
        let (first_line, longest_address, batch, large_body) = (12, 39, 64 + 100, 150);
        let query = MAX_QUERY + ours::QUERY.len() + 4;
        let all = bytes + query + first_line + longest_address + batch + large_body;
        assert!(all < MAX_HEADER_BYTES, "{all}");
    }
}
