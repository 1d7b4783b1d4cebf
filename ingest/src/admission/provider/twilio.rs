//! The signature of Twilio: `X-Twilio-Signature: <base64>`. Pure.
//!
//! The signature covers the URL that Twilio called, followed by the sorted names and values of the form's
//! parameters ([`Form::canonical`]). For a JSON body, the URL holds the SHA-256 of the body instead. The
//! algorithm is HMAC-SHA1 with the account's auth token, or HMAC-SHA256 with a shared key if
//! `X-Twilio-Webhooks-Signature-Settings` says so. As in Twilio's `request_validator` (Python, 9.13), the
//! URL may be signed with or without its port.
//!
//! Invariant: the cost of a check is bounded by [`MAX_BYTES`](crate::admission::form::MAX_BYTES).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{
    admission::{
        form::Form,
        signature::{Signature, SignatureError},
    },
    config::{PublicUrl, Secrets},
};

/// Names the algorithm of the signature. Absent: HMAC-SHA1.
pub const SETTINGS_HEADER: &str = "x-twilio-webhooks-signature-settings";

/// The parts of a callback that its signature covers.
#[derive(Clone, Copy, Debug)]
pub struct Callback<'a> {
    /// Path and query, as received.
    pub path_and_query: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// Whether the body is a form.
    pub is_form: bool,
}

/// Checks the headers `signature` and `settings` before the body is read: the algorithm must be known, and
/// the signature must have its length. `None`: no secret is set, so no signature is required.
///
/// # Errors
/// `Missing` or `Invalid`. Never `Expired`, because Twilio signs no time.
pub fn precheck(
    signature: Option<&[u8]>,
    settings: Option<&[u8]>,
    secrets: &Secrets,
) -> Result<Option<Claim>, SignatureError> {
    if secrets.is_empty() {
        return Ok(None);
    }
    let signature = signature.ok_or(SignatureError::Missing)?;
    let (algorithm, encoded, bytes) = match algorithm(settings).ok_or(SignatureError::Invalid)? {
        Algorithm::Sha1 => (Algorithm::Sha1, 28, 20),
        Algorithm::Sha256 => (Algorithm::Sha256, 44, 32),
    };
    if signature.len() != encoded {
        return Err(SignatureError::Invalid);
    }
    let signature = BASE64_STANDARD.decode(signature).map_err(|_error| SignatureError::Invalid)?;
    if signature.len() == bytes {
        Ok(Some(Claim { algorithm, signature }))
    } else {
        Err(SignatureError::Invalid)
    }
}

/// The content of the signature headers.
#[derive(Clone, Debug)]
pub struct Claim {
    algorithm: Algorithm,
    signature: Vec<u8>,
}

impl Claim {
    /// Checks that the signature covers the URL and `parameters`.
    fn verify(
        &self,
        path_and_query: &str,
        parameters: &[u8],
        public_url: &PublicUrl,
        secrets: &Secrets,
    ) -> Result<Signature, SignatureError> {
        let is_genuine = |secret: &[u8], signed: &[&[u8]]| match self.algorithm {
            Algorithm::Sha1 => is_signed::<Hmac<Sha1>>(secret, signed, &self.signature),
            Algorithm::Sha256 => is_signed::<Hmac<Sha256>>(secret, signed, &self.signature),
        };
        let mut genuine = false;
        for url in public_url.spellings(path_and_query) {
            for secret in secrets.iter() {
                genuine |= is_genuine(secret, &[url.as_bytes(), parameters]);
            }
        }
        if genuine { Ok(Signature::Verified) } else { Err(SignatureError::Invalid) }
    }
}

/// Checks the signature of `callback`, which was received at `public_url`. Without secrets nothing is
/// checked. A form that [`Form::parse`] refuses is `Invalid`.
///
/// # Errors
/// `Missing` or `Invalid`.
pub fn verify(
    signature: Option<&[u8]>,
    settings: Option<&[u8]>,
    callback: &Callback<'_>,
    public_url: Option<&PublicUrl>,
    secrets: &Secrets,
) -> Result<Signature, SignatureError> {
    let Some(public_url) = public_url else { return Ok(Signature::Absent) };
    let Some(claim) = precheck(signature, settings, secrets)? else { return Ok(Signature::Absent) };
    let parameters = if callback.is_form {
        Form::parse(callback.body).map_err(|_error| SignatureError::Invalid)?.canonical()
    } else {
        check_body_hash(callback)?;
        Bytes::new()
    };
    claim.verify(callback.path_and_query, &parameters, public_url, secrets)
}

/// Checks the signature of a callback by GET, whose URL holds all parameters. Without secrets nothing is
/// checked.
///
/// # Errors
/// `Missing` or `Invalid`.
pub fn verify_url(
    signature: Option<&[u8]>,
    settings: Option<&[u8]>,
    path_and_query: &str,
    public_url: Option<&PublicUrl>,
    secrets: &Secrets,
) -> Result<Signature, SignatureError> {
    let Some(public_url) = public_url else { return Ok(Signature::Absent) };
    let Some(claim) = precheck(signature, settings, secrets)? else { return Ok(Signature::Absent) };
    claim.verify(path_and_query, &[], public_url, secrets)
}

fn is_signed<M: Mac + KeyInit>(secret: &[u8], signed: &[&[u8]], signature: &[u8]) -> bool {
    let mut mac = <M as KeyInit>::new_from_slice(secret).expect("HMAC takes a key of any length");
    for part in signed {
        mac.update(part);
    }
    mac.verify_slice(signature).is_ok()
}

#[derive(Clone, Copy, Debug)]
enum Algorithm {
    Sha1,
    Sha256,
}

/// The algorithm that `key=…,algorithm=HMAC_SHA256` names. `None`: an unknown algorithm.
fn algorithm(settings: Option<&[u8]>) -> Option<Algorithm> {
    let named = settings.unwrap_or_default().split(|&byte| byte == b',').find_map(|item| {
        let value = item.trim_ascii().strip_prefix(b"algorithm=")?.trim_ascii();
        Some(value).filter(|value| !value.is_empty())
    });
    match named {
        None => Some(Algorithm::Sha1),
        Some(name) if name.eq_ignore_ascii_case(b"HMAC_SHA1") => Some(Algorithm::Sha1),
        Some(name) if name.eq_ignore_ascii_case(b"HMAC_SHA256") => Some(Algorithm::Sha256),
        Some(_) => None,
    }
}

/// Checks that the signed URL holds the SHA-256 of the body, which is not a form.
fn check_body_hash(callback: &Callback<'_>) -> Result<(), SignatureError> {
    let query = callback.path_and_query.split_once('?').map_or("", |(_, query)| query);
    let claimed = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "bodySHA256");
    let (_, claimed) = claimed.ok_or(SignatureError::Invalid)?;
    let found = hex::encode(Sha256::digest(callback.body));
    let equal = claimed.to_ascii_lowercase().as_bytes().ct_eq(found.as_bytes());
    if equal.into() { Ok(()) } else { Err(SignatureError::Invalid) }
}

#[cfg(test)]
mod tests;
