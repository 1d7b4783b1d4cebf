//! The signature of ElevenLabs: `ElevenLabs-Signature: t=<unix seconds>,v0=<hex>`. Pure: time is an argument.
//!
//! The signature covers the bytes `<t>.<body>` as received: HMAC-SHA256 with the whole secret string as the
//! key.
//!
//! Invariant: every signature is compared with every secret in constant time and without an early exit, so
//! the time that a check takes does not show which of them matched.

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::{
    admission::signature::{Signature, SignatureError},
    config::{Secrets, Tolerance},
};

/// Most signatures in one header. ElevenLabs sends one, or two while a secret is replaced.
const MAX_SIGNATURES: usize = 8;
/// Most digits of a Unix time in seconds. 16 digits last for some hundred million years.
const MAX_TIME_DIGITS: usize = 16;

/// Checks the signature `headers` (one value for each header line) before the body is read: the claim must
/// be well formed, and its time within `tolerance` at `now` (Unix seconds). `None`: no secret is set, so no
/// signature is required.
///
/// # Errors
/// `Missing`, `Invalid` or `Expired`. The time is not authenticated yet, so `Expired` can also mean a
/// forged header.
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

/// Checks the signature `headers` of `body`, which may be in several pieces, at `now`. Without secrets
/// nothing is checked.
///
/// # Errors
/// `Missing`, `Invalid` or `Expired`. Only a genuine signature can be `Expired` here.
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

/// The content of a signature header: a time, and signatures by different secrets.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    /// The time as received, because the signature covers it as received.
    time: &'a [u8],
    seconds: u64,
    signatures: Vec<[u8; 32]>,
}

impl<'a> Claim<'a> {
    /// Reads the only header line. Several lines are `Invalid`, because nothing says which of them counts.
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

    /// Checks that one of the signatures covers `body`, as received, with one of `secrets`.
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

    /// Reads `t=…,v0=…`, in any order and with spaces around items. Other schemes (`v1=…`) and a `v0` that
    /// is not 64 lower-case hex digits are skipped.
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
