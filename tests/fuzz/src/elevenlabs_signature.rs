//! Check of the signature of ElevenLabs.
//!
//! Input: the value of the header on the first line, then the body.

use std::time::Duration;

use aftercall_ingest::{
    admission::{
        provider::elevenlabs::verify,
        signature::{
            Signature,
            SignatureError::{Expired, Invalid, Missing},
        },
    },
    config::{Secrets, Tolerance},
};
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::input::{line, pieces};

const NOW: i64 = 1_790_000_000;
const PAST: i64 = 3600;
const AHEAD: i64 = 300;
const TOLERANCE: Tolerance = Tolerance { past: Duration::from_hours(1), ahead: Duration::from_mins(5) };
/// Limit of the signatures in one header.
const MAX_SIGNATURES: usize = 8;

/// Checks that a header without the secret is never verified, that a genuine signature is verified for any
/// cut of the body and beside other items of the header, and that it is not verified for another body or
/// time.
pub fn run(data: &[u8]) {
    let (header, body) = line(data);
    let body = Bytes::copy_from_slice(body);
    // The secret is a hash of the whole input, so that the input cannot contain it.
    let digest = Sha256::digest(data);
    let secret = format!("wsec_{}", hex::encode(digest));
    let secrets = Secrets::try_from(format!("wsec_old, {secret}")).expect("two secrets");
    let check =
        |header: &[u8], body: &[Bytes], now| verify([header].into_iter(), body, &secrets, TOLERANCE, now);
    let whole = [body.clone()];

    assert_eq!(check(header, &whole, NOW), Err(Invalid), "verified without the secret");
    assert_eq!(verify([].into_iter(), &whole, &secrets, TOLERANCE, NOW), Err(Missing));
    let none = Secrets::default();
    assert_eq!(verify([header].into_iter(), &whole, &none, TOLERANCE, NOW), Ok(Signature::Absent));

    let time = (NOW - i64::from(digest[0])).to_string();
    let mac = mac(&secret, &time, &body);
    let genuine = format!("t={time},v0={mac}");
    for cut in pieces(&body) {
        assert_eq!(check(genuine.as_bytes(), &cut, NOW), Ok(Signature::Verified), "{} pieces", cut.len());
    }
    let lines = [genuine.as_bytes(), header];
    assert_eq!(verify(lines.into_iter(), &whole, &secrets, TOLERANCE, NOW), Err(Invalid), "two lines");

    let expected = if is_accepted_beside(header) { Ok(Signature::Verified) } else { Err(Invalid) };
    for mixed in [[header, b",", genuine.as_bytes()].concat(), [genuine.as_bytes(), b" ,\t", header].concat()]
    {
        assert_eq!(check(&mixed, &whole, NOW), expected, "{}", mixed.escape_ascii());
    }

    let at: i64 = time.parse().expect("written above");
    for (now, expected) in [
        (at + PAST, Ok(Signature::Verified)),
        (at + PAST + 1, Err(Expired)),
        (at - AHEAD, Ok(Signature::Verified)),
        (at - AHEAD - 1, Err(Expired)),
        (i64::MIN, Err(Expired)),
        (i64::MAX, Err(Expired)),
    ] {
        assert_eq!(check(genuine.as_bytes(), &whole, now), expected, "at {now}");
    }

    let longer = [body.clone(), Bytes::from_static(b" ")];
    assert_eq!(check(genuine.as_bytes(), &longer, NOW), Err(Invalid), "another body");
    let later = format!("t={},v0={mac}", at + 1);
    assert_eq!(check(later.as_bytes(), &whole, NOW), Err(Invalid), "another time");
}

/// Whether a genuine time and signature are accepted beside the items of `header`: the header must contain no
/// second time and not too many signatures.
fn is_accepted_beside(header: &[u8]) -> bool {
    let items = || header.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_signature = |item: &[u8]| {
        item.strip_prefix(b"v0=").is_some_and(|value| value.len() == 64 && value.iter().all(is_digit))
    };
    items().all(|item| !item.starts_with(b"t="))
        && items().filter(|item| is_signature(item)).count() < MAX_SIGNATURES
}

/// The signature of `body` at `time`.
fn mac(secret: &str, time: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}
