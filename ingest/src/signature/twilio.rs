//! The signature Twilio puts on a callback: `X-Twilio-Signature: <base64>`.
//!
//! Signed is the URL Twilio called, followed by the names and values of the form's parameters, sorted;
//! of a JSON body the URL holds the SHA-256 instead. HMAC-SHA1 with the account's auth token, or
//! HMAC-SHA256 with a shared key where `X-Twilio-Webhooks-Signature-Settings` says so. As in Twilio's own
//! `request_validator` (Python, 9.13), whether the URL names its port does not matter.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Signature, SignatureError};
use crate::{config::Secrets, policy::PublicUrl};

/// Says by which algorithm a callback is signed; absent: SHA-1.
pub const SETTINGS_HEADER: &str = "x-twilio-webhooks-signature-settings";

/// A callback, as far as its signature covers it.
#[derive(Clone, Copy, Debug)]
pub struct Callback<'a> {
    /// Path and query as received.
    pub path_and_query: &'a str,
    /// Its body.
    pub body: &'a [u8],
    /// Whether the body is a form.
    pub is_form: bool,
}

/// Checks the signature of `callback`, received at `public_url`. Without secrets nothing is required.
pub fn verify(
    signature: Option<&[u8]>,
    settings: Option<&[u8]>,
    callback: &Callback<'_>,
    public_url: Option<&PublicUrl>,
    secrets: &Secrets,
) -> Result<Signature, SignatureError> {
    let Some(public_url) = public_url.filter(|_| !secrets.is_empty()) else { return Ok(Signature::Absent) };
    let signature = signature.ok_or(SignatureError::Missing)?;
    let signature = BASE64_STANDARD.decode(signature).map_err(|_| SignatureError::Invalid)?;
    let parameters = if callback.is_form {
        parameters(callback.body)
    } else {
        covers_body(callback)?;
        String::new()
    };
    let is_genuine: fn(&[u8], &[u8], &[u8]) -> bool = match algorithm(settings) {
        Some(Algorithm::Sha1) => is_signed::<Hmac<Sha1>>,
        Some(Algorithm::Sha256) => is_signed::<Hmac<Sha256>>,
        None => return Err(SignatureError::Invalid),
    };
    let mut genuine = false;
    for url in public_url.spellings(callback.path_and_query) {
        let signed = format!("{url}{parameters}");
        for secret in secrets.iter() {
            genuine |= is_genuine(secret, signed.as_bytes(), &signature);
        }
    }
    if genuine { Ok(Signature::Verified) } else { Err(SignatureError::Invalid) }
}

fn is_signed<M: Mac + KeyInit>(secret: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    let mut mac = <M as KeyInit>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(signed);
    mac.verify_slice(signature).is_ok()
}

enum Algorithm {
    Sha1,
    Sha256,
}

/// The algorithm of `key=…,algorithm=HMAC_SHA256`; `None` for one we do not know.
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

/// Names and values without separators: names sorted, the values of one name sorted and each once.
fn parameters(form: &[u8]) -> String {
    let mut sorted: BTreeMap<Cow<'_, str>, BTreeSet<Cow<'_, str>>> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(form) {
        sorted.entry(name).or_default().insert(value);
    }
    let mut signed = String::with_capacity(form.len());
    for (name, values) in &sorted {
        for value in values {
            signed.push_str(name);
            signed.push_str(value);
        }
    }
    signed
}

/// Whether the signed URL covers a body that is no form.
fn covers_body(callback: &Callback<'_>) -> Result<(), SignatureError> {
    let query = callback.path_and_query.split_once('?').map_or("", |(_, query)| query);
    let claimed = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "bodySHA256");
    let (_, claimed) = claimed.ok_or(SignatureError::Invalid)?;
    let found = hex::encode(Sha256::digest(callback.body));
    let equal = claimed.to_ascii_lowercase().as_bytes().ct_eq(found.as_bytes());
    if equal.into() { Ok(()) } else { Err(SignatureError::Invalid) }
}

#[cfg(test)]
mod tests;
