//! Check of the signature of Twilio, of a form or of the hash of another body.
//!
//! Input: a line each with the header of the signature, the header of its settings, and path and query, then
//! the body.

use aftercall_common::json::BYTE_ORDER_MARK;
use aftercall_ingest::{
    admission::{
        form::Form,
        provider::twilio::{Callback, verify},
        signature::{
            Signature,
            SignatureError::{self, Invalid, Missing},
        },
    },
    config::{PublicUrl, Secrets},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::input::line;

const SHA256: &[u8] = b"key=webhooks_sharedkey_1, algorithm=HMAC_SHA256";

/// Checks that no signature is verified without the token. With the token, a readable form is verified with
/// either algorithm, with and without a port in the URL, and in any order of its parameters. No other form or
/// body is verified.
pub fn run(data: &[u8]) {
    let (signature, rest) = line(data);
    let (settings, rest) = line(rest);
    let (path, body) = line(rest);
    let path = String::from_utf8_lossy(path);
    // The token is a hash of the whole input, so that the input cannot contain it.
    let token = hex::encode(Sha256::digest(data));
    let secrets = Secrets::try_from(format!("old, {token}")).expect("two secrets");
    let url = PublicUrl::try_from("https://hooks.example.com:8443/in/".to_owned()).expect("a URL");
    let check = |signature: Option<&[u8]>, settings: Option<&[u8]>, callback: &Callback<'_>| {
        verify(signature, settings, callback, Some(&url), &secrets)
    };
    let form = Callback { path_and_query: &path, body, is_form: true };
    let plain = Callback { is_form: false, ..form };

    for callback in [form, plain] {
        assert_eq!(check(Some(signature), Some(settings), &callback), Err(Invalid), "without the token");
        assert_eq!(check(None, Some(settings), &callback), Err(Missing));
        let none = Secrets::default();
        assert_eq!(verify(Some(signature), None, &callback, Some(&url), &none), Ok(Signature::Absent));
    }

    covers_its_body(&token, &plain, check);
    let signed = parameters(body);
    if Form::parse(body).is_err() {
        let signed = mac::<Hmac<Sha1>>(&token, &format!("https://hooks.example.com/in{path}{signed}"));
        let result = check(Some(signed.as_bytes()), None, &form);
        assert_eq!(result, Err(Invalid), "an invalid form is verified");
        return;
    }
    if body.starts_with(BYTE_ORDER_MARK) {
        return; // The signature does not cover the mark, and reversed parameters have it elsewhere.
    }
    let added = [body, b"&aftercall=added"].concat();
    let another = Callback { body: &added, ..form };
    let reversed = reversed(body);
    let reversed = Callback { body: &reversed, ..form };
    for origin in ["https://hooks.example.com/in", "https://hooks.example.com:8443/in"] {
        let signed = format!("{origin}{path}{signed}");
        let [first, second] = [mac::<Hmac<Sha1>>(&token, &signed), mac::<Hmac<Sha256>>(&token, &signed)];
        let [first, second] = [Some(first.as_bytes()), Some(second.as_bytes())];
        for callback in [&form, &reversed] {
            assert_eq!(check(first, None, callback), Ok(Signature::Verified), "SHA-1");
            assert_eq!(check(second, Some(SHA256), callback), Ok(Signature::Verified), "SHA-256");
        }
        assert_eq!(check(second, None, &form), Err(Invalid), "the other algorithm");
        assert_eq!(check(first, Some(SHA256), &form), Err(Invalid), "the other algorithm");
        if parameters(&added) != parameters(body) {
            assert_eq!(check(first, None, &another), Err(Invalid), "another form");
        }
        let either = [first, second].map(|signature| check(signature, Some(settings), &form));
        assert!(either.contains(&Err(Invalid)), "by two algorithms at once");
        if settings.trim_ascii().is_empty() {
            assert_eq!(either[0], Ok(Signature::Verified), "SHA-1 is the default");
        }
    }
}

/// Checks that the hash in the URL covers a body that is not a form.
fn covers_its_body(
    token: &str,
    plain: &Callback<'_>,
    check: impl Fn(Option<&[u8]>, Option<&[u8]>, &Callback<'_>) -> Result<Signature, SignatureError>,
) {
    let signed = |signed: &str, callback: &Callback<'_>| {
        let signature = mac::<Hmac<Sha1>>(token, &format!("https://hooks.example.com/in{signed}"));
        check(Some(signature.as_bytes()), None, callback)
    };
    let (path, query) = plain.path_and_query.split_once('?').unwrap_or((plain.path_and_query, ""));
    let bare = Callback { path_and_query: path, ..*plain };
    assert_eq!(signed(path, &bare), Err(Invalid), "a body without a hash in the URL");
    let path = format!("{path}?bodySHA256={}&{query}", hex::encode(Sha256::digest(plain.body)));
    let covered = Callback { path_and_query: &path, ..*plain };
    assert_eq!(signed(&path, &covered), Ok(Signature::Verified), "the hash of the body");
    let added = [plain.body, b" "].concat();
    let another = Callback { body: &added, ..covered };
    assert_eq!(signed(&path, &another), Err(Invalid), "another body");
}

/// Names and values in the order in which Twilio signs them.
fn parameters(form: &[u8]) -> String {
    let mut pairs: Vec<_> = form_urlencoded::parse(form).collect();
    pairs.sort();
    pairs.dedup();
    pairs.into_iter().flat_map(|(name, value)| [name, value]).collect()
}

/// The parameters in reverse order.
fn reversed(form: &[u8]) -> Vec<u8> {
    let mut items: Vec<_> = form.split(|&byte| byte == b'&').collect();
    items.reverse();
    items.join(&b'&')
}

fn mac<M: Mac + KeyInit>(token: &str, signed: &str) -> String {
    let mut mac = <M as KeyInit>::new_from_slice(token.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(signed.as_bytes());
    BASE64_STANDARD.encode(mac.finalize().into_bytes())
}
