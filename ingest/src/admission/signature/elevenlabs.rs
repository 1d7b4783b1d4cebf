//! The signature `ElevenLabs` puts on a webhook: `ElevenLabs-Signature: t=<unix seconds>,v0=<hex>`.
//!
//! Signed are the bytes `<t>.<body>` as received, by HMAC-SHA256 with the whole secret string as the
//! key. Every signature is compared with every secret in constant time and
//! without an early exit, so the time taken tells nothing about which of them matched.

use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

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

/// Reads what the signature `headers` (one value for each header line) claim, before a byte of the body is read:
/// well formed, and in time at `now` (Unix seconds). `None`: without secrets no signature is required.
///
/// # Errors
/// `Missing`, `Invalid` or `Expired`. The time is not authenticated yet: `Expired` says what a forged header
/// claims as well as what a late one does.
pub fn precheck<'a>(
    headers: impl Iterator<Item = &'a [u8]>,
    secrets: &Secrets,
    tolerance: Tolerance,
    now: i64,
) -> Result<Option<Claim<'a>>, SignatureError> {
    match Claim::read(headers, secrets)? {
        Some(claim) if !claim.is_in_time(tolerance, now) => Err(SignatureError::Expired),
        claim => Ok(claim),
    }
}

/// Checks the signature `headers` of `body`, in its pieces, at `now`, in one step: `Expired` is then said of
/// genuine signatures only. Without secrets nothing is required and nothing checked.
///
/// # Errors
/// `Missing`, `Invalid` or `Expired`.
pub fn verify<'a>(
    headers: impl Iterator<Item = &'a [u8]>,
    body: &[Bytes],
    secrets: &Secrets,
    tolerance: Tolerance,
    now: i64,
) -> Result<Signature, SignatureError> {
    let Some(claim) = Claim::read(headers, secrets)? else { return Ok(Signature::Absent) };
    let signature = claim.verify(body, secrets)?;
    if claim.is_in_time(tolerance, now) { Ok(signature) } else { Err(SignatureError::Expired) }
}

/// What a header claims: a time, and signatures of which one may be ours.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    /// As received, for it is signed as received.
    time: &'a [u8],
    seconds: u64,
    signatures: Vec<[u8; 32]>,
}

impl<'a> Claim<'a> {
    /// The claim of the only header line. Which of two lines counts is not ours to guess.
    fn read(
        mut headers: impl Iterator<Item = &'a [u8]>,
        secrets: &Secrets,
    ) -> Result<Option<Self>, SignatureError> {
        if secrets.is_empty() {
            return Ok(None);
        }
        let header = headers.next().ok_or(SignatureError::Missing)?;
        if headers.next().is_some() {
            return Err(SignatureError::Invalid);
        }
        Self::parse(header).map(Some).ok_or(SignatureError::Invalid)
    }

    fn is_in_time(&self, tolerance: Tolerance, now: i64) -> bool {
        let age = i128::from(now) - i128::from(self.seconds);
        let allowed = -i128::from(tolerance.ahead.as_secs())..=i128::from(tolerance.past.as_secs());
        allowed.contains(&age)
    }

    /// Checks that one of the signatures is of `body`, as received, by one of `secrets`.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn verify(&self, body: &[Bytes], secrets: &Secrets) -> Result<Signature, SignatureError> {
        let mut genuine = false;
        for secret in secrets.iter() {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
            mac.update(self.time);
            mac.update(b".");
            for piece in body {
                mac.update(piece);
            }
            for signature in &self.signatures {
                genuine |= mac.clone().verify_slice(signature).is_ok();
            }
        }
        if genuine { Ok(Signature::Verified) } else { Err(SignatureError::Invalid) }
    }

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
