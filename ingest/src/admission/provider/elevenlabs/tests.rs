use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SECRET: &str = "wsec_5f1c0ffee0a11ce5b0b5eedfacade0123456789abcdef0123456789abcdef01";
const TOLERANCE: Tolerance = Tolerance { past: Duration::from_hours(1), ahead: Duration::from_mins(5) };
const T: i64 = 1_790_000_000;

const BODY_A: &str = r#"{"type":"post_call_transcription","event_timestamp":1790000000,"data":{"agent_id":"agent_0000example","conversation_id":"conv_0000example","status":"done"}}"#;
const MAC_A: &str = "2e9f10bbee7fe83c714e7cb9957b3c38ee721c042299e4118d79fe16a0c0cc37";
const BODY_B: &str = "{\"type\":\"call_initiation_failure\",\"event_timestamp\":1790000001,\"data\":{\"agent_id\":\"agent_0000example\",\"conversation_id\":\"conv_0000example2\",\"failure_reason\":\"no-answer\",\"note\":\"café – 新加坡\"}}\n";
const MAC_B: &str = "c6e1a9cb9c3888761322121118ab90fc24231f09947226580e897e369037b11a";
const MAC_C: &str = "f7ed650f145085e3824754bab34f1664e747806a9acc278932094dfccaf84c72";

fn secrets(list: &str) -> Secrets {
    Secrets::try_from(list.to_owned()).unwrap()
}

fn check(header: &str, body: &str, now: i64) -> Result<Signature, SignatureError> {
    verify(
        [header.as_bytes()].into_iter(),
        &[Bytes::copy_from_slice(body.as_bytes())],
        &secrets(SECRET),
        TOLERANCE,
        now,
    )
}

#[test]
fn known_signatures_verify() {
    assert_eq!((BODY_A.len(), BODY_B.len()), (156, 200));
    for (t, mac, body) in [(T, MAC_A, BODY_A), (T + 1, MAC_B, BODY_B), (T, MAC_C, "")] {
        assert_eq!(check(&format!("t={t},v0={mac}"), body, T), Ok(Signature::Verified), "{body}");
    }
    let reserialised = BODY_A.replace(':', ": ").replace(',', ", ");
    assert_eq!(reserialised.len(), 166);
    assert_eq!(check(&format!("t={T},v0={MAC_A}"), &reserialised, T), Err(SignatureError::Invalid));
}

#[test]
fn valid_headers_are_verified_and_other_headers_are_refused() {
    use SignatureError::{Expired, Invalid};
    let bad = "0".repeat(64);
    let upper = MAC_A.to_uppercase();
    let eight_bad = vec![format!("v0={bad}"); 8].join(",");
    let seven_bad = vec![format!("v0={bad}"); 7].join(",");
    #[rustfmt::skip]
    let table = [
        (format!("v0={MAC_A},t={T}"),                 T,             Ok(Signature::Verified)),
        (format!("t={T}, v0={MAC_A}"),                T,             Ok(Signature::Verified)),
        (format!(" t={T} ,\tv0={MAC_A} "),            T,             Ok(Signature::Verified)),
        (format!("t={T},v1={bad},v0={MAC_A}"),        T,             Ok(Signature::Verified)),
        (format!("t={T},v0={bad},v0={MAC_A}"),        T,             Ok(Signature::Verified)),
        (format!("t={T},v0={MAC_A},v0={bad}"),        T,             Ok(Signature::Verified)),
        (format!("t={T},v0=xyz,v0={MAC_A}"),          T,             Ok(Signature::Verified)),
        (format!("t={T},{seven_bad},v0={MAC_A}"),     T,             Ok(Signature::Verified)),
        (format!("t={T},{eight_bad},v0={MAC_A}"),     T,             Err(Invalid)),
        (format!("t={T},v0={upper}"),                 T,             Err(Invalid)),
        (format!("t={T},V0={MAC_A}"),                 T,             Err(Invalid)),
        (format!("t={T},v1={MAC_A}"),                 T,             Err(Invalid)),
        (format!("t={T},v0={bad}"),                   T,             Err(Invalid)),
        (format!("t={T},v0={}", &MAC_A[..62]),        T,             Err(Invalid)),
        (format!("t={},v0={MAC_A}", T + 1),           T,             Err(Invalid)),
        (format!("t={T},t={T},v0={MAC_A}"),           T,             Err(Invalid)),
        (format!("t=,v0={MAC_A}"),                    T,             Err(Invalid)),
        (format!("t=-5,v0={MAC_A}"),                  T,             Err(Invalid)),
        (format!("t=+{T},v0={MAC_A}"),                T,             Err(Invalid)),
        (format!("t=1e9,v0={MAC_A}"),                 T,             Err(Invalid)),
        (format!("t={},v0={MAC_A}", "9".repeat(30)),  T,             Err(Invalid)),
        (format!("v0={MAC_A}"),                       T,             Err(Invalid)),
        (MAC_A.to_owned(),                            T,             Err(Invalid)),
        (String::new(),                               T,             Err(Invalid)),
        (format!("t={T},v0={MAC_A}"),                 T + 3600,      Ok(Signature::Verified)),
        (format!("t={T},v0={MAC_A}"),                 T + 3601,      Err(Expired)),
        (format!("t={T},v0={MAC_A}"),                 T - 300,       Ok(Signature::Verified)),
        (format!("t={T},v0={MAC_A}"),                 T - 301,       Err(Expired)),
        (format!("t={T},v0={bad}"),                   T + 3601,      Err(Invalid)),
    ];
    for (header, now, expected) in table {
        assert_eq!(check(&header, BODY_A, now), expected, "{header} at {now}");
    }
}

#[test]
fn any_secret_of_the_list_verifies_and_no_secret_means_no_check() {
    let header = format!("t={T},v0={MAC_A}");
    let lines = || [header.as_bytes()].into_iter();
    let (first, second) = BODY_A.split_at(70); // In pieces, as a large body is.
    let body = &[Bytes::from_static(first.as_bytes()), Bytes::from_static(second.as_bytes())];
    for list in [format!("wsec_old,{SECRET}"), format!("{SECRET},wsec_new")] {
        assert_eq!(verify(lines(), body, &secrets(&list), TOLERANCE, T), Ok(Signature::Verified));
    }
    let other = secrets("wsec_other");
    assert_eq!(verify(lines(), body, &other, TOLERANCE, T), Err(SignatureError::Invalid));
    assert_eq!(verify([].into_iter(), body, &other, TOLERANCE, T), Err(SignatureError::Missing));
    assert_eq!(
        verify(lines().chain(lines()), body, &secrets(SECRET), TOLERANCE, T),
        Err(SignatureError::Invalid)
    );
    assert_eq!(verify([].into_iter(), body, &Secrets::default(), TOLERANCE, T), Ok(Signature::Absent));
}

#[test]
fn claim_is_checked_before_the_body_is_read() {
    use SignatureError::{Expired, Invalid, Missing};
    let secrets = secrets(SECRET);
    let precheck = |lines: &[&str], now| {
        let lines = lines.iter().map(|line| line.as_bytes());
        precheck(lines, &secrets, TOLERANCE, now).map(|claim| claim.is_some())
    };
    let (good, forged) = (format!("t={T},v0={MAC_A}"), format!("t={T},v0={}", "0".repeat(64)));
    #[rustfmt::skip]
    let table: [(&[&str], i64, Result<bool, SignatureError>); 9] = [
        (&[&good],                    T,        Ok(true)),
        (&[&forged],                  T,        Ok(true)), // Only the body shows it.
        (&[&good],                    T + 3600, Ok(true)),
        (&[&good],                    T + 3601, Err(Expired)),
        (&[&forged],                  T - 301,  Err(Expired)),
        (&[],                         T,        Err(Missing)),
        (&["t=1"],                    T,        Err(Invalid)),
        (&["t=1,v0=00"],              T,        Err(Invalid)),
        (&[&good, &good],             T,        Err(Invalid)),
    ];
    for (lines, now, expected) in table {
        assert_eq!(precheck(lines, now), expected, "{lines:?} at {now}");
    }
    let claim = super::precheck([good.as_bytes()].into_iter(), &secrets, TOLERANCE, T).unwrap().unwrap();
    assert_eq!(claim.verify(&[Bytes::from_static(BODY_A.as_bytes())], &secrets), Ok(Signature::Verified));
    assert_eq!(claim.verify(&[Bytes::from_static(BODY_B.as_bytes())], &secrets), Err(Invalid));
    let none = super::precheck([].into_iter(), &Secrets::default(), TOLERANCE, T);
    assert!(matches!(none, Ok(None)), "nothing is required without secrets");
}

proptest! {
    #[test]
    fn garbage_is_refused_and_never_panics(header: Vec<u8>, body: Vec<u8>, now: i64) {
        let outcome = verify([&header[..]].into_iter(), &[body.into()], &secrets(SECRET), TOLERANCE, now);
        prop_assert!(outcome.is_err());
    }

    #[test]
    fn well_formed_headers_with_a_wrong_signature_are_refused(header in "t=[0-9+ -]{0,20},v0=[0-9a-f]{60,68}(,v0=[0-9a-fA-F]{64}){0,9}", now: i64) {
        prop_assert!(check(&header, BODY_A, now).is_err());
    }
}
