//! The signature `ElevenLabs` puts on a webhook: `ElevenLabs-Signature: t=<unix seconds>,v0=<hex>`.
//!
//! Signed are the bytes `<t>.<body>` as received, by HMAC-SHA256 with the whole secret string as the
//! key. Every signature is compared with every secret in constant time and
//! without an early exit, so the time taken tells nothing about which of them matched.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use bytes::Bytes;

use super::{Signature, SignatureError};
use crate::config::Secrets;

/// Signatures read from one header. The provider sends one, or two while a secret is replaced.
const MAX_SIGNATURES: usize = 8;
/// How far a signature's time may be from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// How old it may be.
    pub past: Duration,
    /// How far ahead it may be. The official verifiers set no bound at all.
    pub ahead: Duration,
}

/// Digits of a Unix time in seconds, for some hundred million years.
const MAX_TIME_DIGITS: usize = 16;

/// Checks the signature `headers` (one value a header line) of `body`, in its pieces, at `now` (Unix
/// seconds). Without secrets nothing is required and nothing checked.
pub fn verify<'a>(
    mut headers: impl Iterator<Item = &'a [u8]>,
    body: &[Bytes],
    secrets: &Secrets,
    tolerance: Tolerance,
    now: i64,
) -> Result<Signature, SignatureError> {
    if secrets.is_empty() {
        return Ok(Signature::Absent);
    }
    let header = headers.next().ok_or(SignatureError::Missing)?;
    if headers.next().is_some() {
        return Err(SignatureError::Invalid); // Which of two lines counts is not ours to guess.
    }
    let claim = Claim::parse(header).ok_or(SignatureError::Invalid)?;
    let mut genuine = false;
    for secret in secrets.iter() {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
        mac.update(claim.time);
        mac.update(b".");
        for piece in body {
            mac.update(piece);
        }
        for signature in &claim.signatures {
            genuine |= mac.clone().verify_slice(signature).is_ok();
        }
    }
    if !genuine {
        return Err(SignatureError::Invalid);
    }
    let age = i128::from(now) - i128::from(claim.seconds);
    let allowed = -i128::from(tolerance.ahead.as_secs())..=i128::from(tolerance.past.as_secs());
    if allowed.contains(&age) { Ok(Signature::Verified) } else { Err(SignatureError::Expired) }
}

/// What a header claims: a time, and signatures of which one may be ours.
struct Claim<'a> {
    /// As received, for it is signed as received.
    time: &'a [u8],
    seconds: u64,
    signatures: Vec<[u8; 32]>,
}

impl<'a> Claim<'a> {
    /// `t=…,v0=…` in any order, spaces around items allowed. Other schemes (`v1=…`) are skipped,
    /// as is a `v0` that is not 64 lower-case hex digits.
    fn parse(header: &'a [u8]) -> Option<Self> {
        let (mut time, mut signatures) = (None, Vec::new());
        for item in header.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if let Some(value) = item.strip_prefix(b"t=") {
                if time.replace(value).is_some() {
                    return None;
                }
            } else if let Some(value) = item.strip_prefix(b"v0=") {
                let mut signature = [0; 32];
                let lower = !value.iter().any(u8::is_ascii_uppercase);
                if lower && hex::decode_to_slice(value, &mut signature).is_ok() {
                    signatures.push(signature);
                }
                if signatures.len() > MAX_SIGNATURES {
                    return None;
                }
            }
        }
        let time = time?;
        if signatures.is_empty() || time.len() > MAX_TIME_DIGITS || !time.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let seconds = str::from_utf8(time).ok()?.parse().ok()?;
        Some(Self { time, seconds, signatures })
    }
}

#[cfg(test)]
mod tests;
