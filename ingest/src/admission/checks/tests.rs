use bytes::Bytes;
use hyper::{Method, Request};
use prometheus_client::metrics::gauge::Gauge;

use super::*;
use crate::admission::{
    body::{Budget, encoding::Encoding},
    form::FormError,
};

const NOW: i64 = 1_790_000_000;

type Headers = &'static [(&'static str, &'static str)];
/// Policy, provider, sender, headers, result.
type Row<'a> =
    (&'a Arc<Policy>, Provider, Result<Sender, UnknownSender>, Headers, Result<(), AuthenticityError>);

fn policy(vars: &[(&str, &str)]) -> Arc<Policy> {
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Arc::new(Policy::from_vars(vars).unwrap())
}

fn parts(method: Method, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri("/api/webhooks/twilio/call-status");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

#[test]
fn headers_are_refused_for_the_first_check_that_fails() {
    use AuthenticityError::{
        CrossSite, HeaderSecret, Signature, SourceNotAllowed, UnknownSender as Unknown, WrongToken,
    };
    use Provider::{ElevenLabs, Twilio};
    let signed = policy(&[
        ("ELEVENLABS_WEBHOOK_SECRET", "wsec"),
        ("EVENTS_TOKEN", "t0ken"),
        ("TWILIO_AUTH_TOKEN", "auth"),
        ("PUBLIC_URL", "https://h.example"),
    ]);
    let unsigned = policy(&[("ALLOW_UNSIGNED", "true"), ("WEBHOOK_HEADER_SECRET", "X-Hook: s")]);
    let direct = |address: &str| Ok(Sender { address: address.parse().unwrap(), is_direct: true });
    let listed = "34.67.146.145";
    #[rustfmt::skip]
    let table: [Row<'_>; 10] = [
        (&signed,   ElevenLabs, Err(UnknownSender::UntrustedProxy), &[], Err(Unknown(UnknownSender::UntrustedProxy))),
        (&signed,   ElevenLabs, direct("9.9.9.9"), &[("authorization", "Bearer t0ken")], Ok(())),
        (&signed,   ElevenLabs, direct("9.9.9.9"), &[("authorization", "Bearer wrong")], Err(WrongToken)),
        (&signed,   ElevenLabs, direct("9.9.9.9"), &[],                                  Err(SourceNotAllowed)),
        (&signed,   ElevenLabs, direct(listed),    &[],                                  Err(Signature(SignatureError::Missing))),
        (&signed,   Twilio,     direct("9.9.9.9"), &[],                                  Err(Signature(SignatureError::Missing))),
        (&signed,   Twilio,     direct("9.9.9.9"), &[("authorization", "Bearer t0ken")], Err(Signature(SignatureError::Missing))),
        (&unsigned, ElevenLabs, direct(listed),    &[("origin", "https://evil.example")], Err(CrossSite)),
        (&unsigned, ElevenLabs, direct(listed),    &[],                                  Err(HeaderSecret)),
        (&unsigned, ElevenLabs, direct(listed),    &[("x-hook", "s")],                   Ok(())),
    ];
    for (policy, provider, sender, headers, expected) in table {
        let parts = parts(Method::POST, headers);
        let found = CheckInput::new(provider, policy, &parts, NOW).check_headers(sender);
        assert_eq!(found, expected, "{provider:?} {sender:?} {headers:?}");
    }
}

#[test]
fn observe_overrides_authenticity_errors_and_no_other_error() {
    let missing = AuthenticityError::Signature(SignatureError::Missing);
    let budget = Budget::new(1024, Gauge::default());
    let unpacking =
        Unpacking { encoding: Encoding::Identity, max_bytes: 100, max_joined_bytes: 100, budget: &budget };
    for (source_policy, body, expected) in [
        ("enforce", "CallSid=CA1", Err(CheckError::Authenticity(missing))),
        ("observe", "CallSid=CA1", Ok(Some(missing))),
        ("observe", "CallSid=", Err(CheckError::Content(ContentError::Form(FormError::NoCall)))),
    ] {
        let policy = policy(&[
            ("ALLOW_UNSIGNED", "true"),
            ("SOURCE_POLICY", source_policy),
            ("TWILIO_AUTH_TOKEN", "auth"),
            ("PUBLIC_URL", "https://h.example"),
        ]);
        let parts = parts(Method::POST, &[]);
        let mut body = Body::unbudgeted(Bytes::from_static(body.as_bytes()));
        let outcome =
            CheckInput::new(Provider::Twilio, &policy, &parts, NOW).check_body(&mut body, None, unpacking);
        assert_eq!(outcome.signature, Signature::Doubtful(SignatureError::Missing));
        assert_eq!(outcome.id.map(|(_, overridden)| overridden), expected, "{source_policy}");
    }
}
