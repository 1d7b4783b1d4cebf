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
    let turned = FORM.split('&').rev().collect::<Vec<_>>().join("&");
    let touched = FORM.replace("no-answer", "completed");
    let unknown = "algorithm=HMAC_SHA512";
    #[rustfmt::skip]
    let table = [
        (Some(SHA1),   None,           FORM,     URL,                             Ok(Signature::Verified)),
        (Some(SHA1),   Some(""),       FORM,     URL,                             Ok(Signature::Verified)),
        (Some(SHA1),   None,           &turned,  URL,                             Ok(Signature::Verified)),
        (Some(SHA1),   None,           FORM,     "https://hooks.example.com:443", Ok(Signature::Verified)),
        (Some(SHA1),   None,           FORM,     "https://hooks.example.com/",    Ok(Signature::Verified)),
        (Some(SHA256), Some(SETTINGS), FORM,     URL,                             Ok(Signature::Verified)),
        (Some(SHA256), None,           FORM,     URL,                             Err(Invalid)),
        (Some(SHA1),   Some(SETTINGS), FORM,     URL,                             Err(Invalid)),
        (Some(SHA1),   Some(unknown),  FORM,     URL,                             Err(Invalid)),
        (Some(SHA1),   None,           &touched, URL,                             Err(Invalid)),
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
fn body_that_is_no_form_is_covered_by_its_hash_in_the_url() {
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
fn claim_is_checked_before_the_body_is_read() {
    use SignatureError::{Invalid, Missing};
    let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let unpadded = &SHA1[..27];
    let long = "A".repeat(100_000);
    #[rustfmt::skip]
    let table = [
        (Some(SHA1),     None,                           Ok(true)),
        (Some(other),    None,                           Ok(true)), // Only the body shows it.
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
fn form_that_is_too_large_is_refused_before_it_is_sorted() {
    let names: Vec<_> = (0..40_000).map(|n| format!("n{n}")).collect();
    let form = format!("CallSid=CA1&{}", names.join("&"));
    let callback = Callback { path_and_query: PATH, body: form.as_bytes(), is_form: true };
    let url = PublicUrl::try_from("https://hooks.example.com".to_owned()).unwrap();
    let found = verify(Some(SHA1.as_bytes()), None, &callback, Some(&url), &secrets(TOKEN));
    assert_eq!(found, Err(SignatureError::Invalid));
}
