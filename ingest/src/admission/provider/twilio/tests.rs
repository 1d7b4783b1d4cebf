use std::collections::BTreeSet;

use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const PATH: &str = "/api/webhooks/elevenlabs/call-status";
const FORM: &str = "AccountSid=AC00000000000000000000000000000001&CallSid=CA00000000000000000000000000000001\
    &CallStatus=no-answer&CallbackSource=call-progress-events&From=%2B15005550006&SequenceNumber=2&To=%2B6580000001";
const SHA1: &str = "BEVmP5rHomevfbof8aYXGpgwwf8=";
const SHA256: &str = "csTf8FhBlAxZLZWPNWUB3jy8vgJ1yHSUUYCLx4rmb9A=";
const SETTINGS: &str = "key=webhooks_sharedkey_1, algorithm=HMAC_SHA256";

fn check(
    signature: Option<&str>,
    settings: Option<&str>,
    form: &str,
    url: &str,
) -> Result<Signature, SignatureError> {
    let callback = Callback { path_and_query: PATH, body: form.as_bytes(), is_form: true };
    let (url, secrets) = (PublicUrl::try_from(url.to_owned()).unwrap(), secrets(&format!("other,{TOKEN}")));
    verify(signature.map(str::as_bytes), settings.map(str::as_bytes), &callback, Some(&url), &secrets)
}

fn secrets(list: &str) -> Secrets {
    Secrets::try_from(list.to_owned()).unwrap()
}

#[test]
fn signature_covers_url_and_parameters() {
    use SignatureError::{Invalid, Missing};
    const URL: &str = "https://hooks.example.com";
    let reordered = FORM.split('&').rev().collect::<Vec<_>>().join("&");
    let tampered = FORM.replace("no-answer", "completed");
    let unknown = "algorithm=HMAC_SHA512";
    #[rustfmt::skip]
    let table = [
        (Some(SHA1),   None,           FORM,     URL,                             Ok(Signature::Verified)),
        (Some(SHA1),   Some(""),       FORM,     URL,                             Ok(Signature::Verified)),
        (Some(SHA1),   None,           &reordered, URL,                             Ok(Signature::Verified)),
        (Some(SHA1),   None,           FORM,     "https://hooks.example.com:443", Ok(Signature::Verified)),
        (Some(SHA1),   None,           FORM,     "https://hooks.example.com/",    Ok(Signature::Verified)),
        (Some(SHA256), Some(SETTINGS), FORM,     URL,                             Ok(Signature::Verified)),
        (Some(SHA256), None,           FORM,     URL,                             Err(Invalid)),
        (Some(SHA1),   Some(SETTINGS), FORM,     URL,                             Err(Invalid)),
        (Some(SHA1),   Some(unknown),  FORM,     URL,                             Err(Invalid)),
        (Some(SHA1),   None,           &tampered, URL,                             Err(Invalid)),
        (Some(SHA1),   None,           FORM,     "http://hooks.example.com",      Err(Invalid)),
        (Some(SHA1),   None,           FORM,     "https://other.example.com",     Err(Invalid)),
        (Some("????"), None,           FORM,     URL,                             Err(Invalid)),
        (Some(""),     None,           FORM,     URL,                             Err(Invalid)),
        (None,         None,           FORM,     URL,                             Err(Missing)),
    ];
    for (signature, settings, form, url, expected) in table {
        assert_eq!(check(signature, settings, form, url), expected, "{signature:?} {settings:?} {url}");
    }
    let callback = Callback { path_and_query: PATH, body: FORM.as_bytes(), is_form: true };
    assert_eq!(verify(None, None, &callback, None, &Secrets::default()), Ok(Signature::Absent));
}

#[test]
fn json_body_must_match_the_hash_in_the_signed_url() {
    let body = br#"{"CallSid":"CA1"}"#;
    let url = PublicUrl::try_from("https://hooks.example.com".to_owned()).unwrap();
    let check = |path: &str, body: &[u8]| {
        let mut mac = Hmac::<Sha1>::new_from_slice(TOKEN.as_bytes()).unwrap();
        mac.update(format!("https://hooks.example.com{path}").as_bytes());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        let callback = Callback { path_and_query: path, body, is_form: false };
        verify(Some(signature.as_bytes()), None, &callback, Some(&url), &secrets(TOKEN))
    };
    let hashed = format!("{PATH}?bodySHA256={}", hex::encode(Sha256::digest(body)));
    assert_eq!(check(&hashed, body), Ok(Signature::Verified));
    assert_eq!(check(&hashed, b"{}"), Err(SignatureError::Invalid));
    assert_eq!(check(PATH, body), Err(SignatureError::Invalid));
}

#[test]
fn unknown_algorithms_and_wrong_lengths_are_refused_without_the_body() {
    use SignatureError::{Invalid, Missing};
    let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let unpadded = &SHA1[..27];
    let long = "A".repeat(100_000);
    #[rustfmt::skip]
    let table = [
        (Some(SHA1),     None,                           Ok(true)),
        (Some(other),    None,                           Ok(true)), // Only `verify` can refuse it.
        (Some(SHA256),   Some(SETTINGS),                 Ok(true)),
        (Some(SHA256),   None,                           Err(Invalid)),
        (Some(SHA1),     Some(SETTINGS),                 Err(Invalid)),
        (Some(SHA1),     Some("algorithm=HMAC_SHA512"),  Err(Invalid)),
        (Some(unpadded), None,                           Err(Invalid)),
        (Some("AAAA"),   None,                           Err(Invalid)),
        (Some(&long),    None,                           Err(Invalid)),
        (None,           None,                           Err(Missing)),
    ];
    for (signature, settings, expected) in table {
        let found = precheck(signature.map(str::as_bytes), settings.map(str::as_bytes), &secrets(TOKEN));
        assert_eq!(found.map(|claim| claim.is_some()), expected, "{signature:?} {settings:?}");
    }
    assert!(
        matches!(precheck(None, None, &Secrets::default()), Ok(None)),
        "nothing is required without secrets"
    );
}

#[test]
fn signed_form_with_too_many_parameters_is_refused() {
    let url = PublicUrl::try_from("https://hooks.example.com".to_owned()).unwrap();
    for (count, expected) in [(200, Ok(Signature::Verified)), (40_000, Err(SignatureError::Invalid))] {
        let names: BTreeSet<_> = (0..count).map(|n| format!("n{n}")).collect();
        let mut mac = Hmac::<Sha1>::new_from_slice(TOKEN.as_bytes()).unwrap();
        mac.update(format!("https://hooks.example.com{PATH}CallSidCA1").as_bytes());
        for name in &names {
            mac.update(name.as_bytes());
        }
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        let names: Vec<_> = names.into_iter().collect();
        let form = format!("CallSid=CA1&{}", names.join("&"));
        let callback = Callback { path_and_query: PATH, body: form.as_bytes(), is_form: true };
        let found = verify(Some(signature.as_bytes()), None, &callback, Some(&url), &secrets(TOKEN));
        assert_eq!(found, expected, "{count} parameters");
    }
}
