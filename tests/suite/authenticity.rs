//! Authenticity of webhooks: signatures, allowed sources, the header secret, and their change while requests
//! arrive.

use aftercall_common::contract::streams;
use aftercall_local::process::Signal;
use serde_json::json;

use crate::harness::{
    CALL_STATUS, SECRET, TWILIO_CALL_STATUS, TestStack, post_signed, python, sign, until, within,
};

#[tokio::test]
async fn signature_check_agrees_with_the_official_sdk() {
    const VERIFY: &str = r#"
import json, sys
from elevenlabs.client import ElevenLabs
webhooks = ElevenLabs(api_key="none").webhooks
for line in sys.stdin:
    body, signature, secret = json.loads(line)
    try:
        webhooks.construct_event(rawBody=body, sig_header=signature, secret=secret)
        print("accepted")
    except Exception as error:
        print("refused")
"#;
    let stack =
        TestStack::builder().without_worker().gateway_env("ELEVENLABS_WEBHOOK_SECRET", SECRET).start().await;
    let mut cases = Vec::new();
    for n in 0..40 {
        let body = format!(
            "{{ \"n\":{n},\"ü\" : \"新{}\\n\",\"z\":{{\"a\":[1 ,2]}}}}{}",
            "x".repeat(n),
            " ".repeat(n % 3)
        );
        let signature = sign(SECRET, &body);
        cases.push((body.replacen("新", "斬", 1), signature.clone()));
        cases.push((body, signature));
    }
    let lines: Vec<_> =
        cases.iter().map(|(body, signature)| json!([body, signature, SECRET]).to_string()).collect();
    let verdicts = python::run(VERIFY, &[], lines.join("\n").as_bytes()).await;
    for (verdict, (body, signature)) in verdicts.lines().zip(&cases) {
        let request = stack.http.post(format!("{}{CALL_STATUS}", stack.base)).body(body.clone());
        let ours = stack.send(request.header("elevenlabs-signature", signature)).await.status;
        assert_eq!(
            (verdict, ours),
            if body.contains('新') { ("accepted", 200) } else { ("refused", 401) },
            "{body}"
        );
    }
    assert_eq!(verdicts.lines().count(), cases.len());
}

#[tokio::test]
async fn callbacks_signed_by_twilios_library_are_accepted_from_any_address() {
    const SIGN: &str = r#"
import hashlib, json, sys
from urllib.parse import urlencode
from twilio.request_validator import RequestValidator
url, token = sys.argv[1:]
validator = RequestValidator(token)
for n in range(12):
    params = {"CallSid": f"CA{n}", "CallStatus": "ringing", "To": "+6580000001", "Odd": "ä &=+%\u65b0" * (n % 3)}
    algorithm = "HMAC_SHA256" if n % 2 else "HMAC_SHA1"
    print(json.dumps([urlencode(params), "", validator.compute_signature(url, params, algorithm), algorithm]))
body = '{"CallSid": "CAjson", "CallStatus": "ringing"}'
query = "?bodySHA256=" + hashlib.sha256(body.encode()).hexdigest()
print(json.dumps([body, query, validator.compute_signature(url + query, {}), "HMAC_SHA1"]))
"#;
    let public = "https://hooks.example.com";
    let stack = TestStack::builder()
        .gateway_env("ALLOWED_SOURCES", "203.0.113.0/24") // Twilio publishes no addresses.
        .gateway_env("TWILIO_AUTH_TOKEN", "t0ken")
        .gateway_env("PUBLIC_URL", public)
        .start()
        .await;
    let signed = python::run(SIGN, &[&format!("{public}{TWILIO_CALL_STATUS}"), "t0ken"], b"").await;
    for line in signed.lines() {
        let Ok((body, query, signature, algorithm)) =
            serde_json::from_str::<(String, String, String, String)>(line)
        else {
            panic!("{line}")
        };
        let kind = if query.is_empty() { "application/x-www-form-urlencoded" } else { "application/json" };
        for (body, status) in [(body.clone(), 200), (body.replace("ringing", "completed"), 401)] {
            let request = stack.http.post(format!("{}{TWILIO_CALL_STATUS}{query}", stack.base)).body(body);
            let request = request.header("content-type", kind).header("x-twilio-signature", &signature);
            let settings = format!("key=k,algorithm={algorithm}");
            let answer =
                request.header("x-twilio-webhooks-signature-settings", settings).send().await.unwrap();
            assert_eq!(answer.status(), status, "{line}");
        }
    }
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 13);
    let call = stack.until_call("CA0", mongodb::bson::doc! { "status": "ringing" }).await;
    let entry = call.get_array("history").unwrap()[0].as_document().unwrap();
    assert_eq!(
        (entry.get_str("origin").unwrap(), entry.get_str("signature").unwrap()),
        ("twilio", "verified")
    );
}

#[tokio::test]
async fn observe_policy_accepts_everything_and_records_what_it_would_refuse() {
    let stack = TestStack::builder()
        .without_worker()
        .gateway_env("SOURCE_POLICY", "observe")
        .gateway_env("ALLOWED_SOURCES", "203.0.113.0/24")
        .gateway_env("TRUSTED_PROXIES", "127.0.0.1")
        .gateway_env("ELEVENLABS_WEBHOOK_SECRET", SECRET)
        .start()
        .await;
    let good = "203.0.113.7";
    #[rustfmt::skip]
    let table = [ // source, secret, result of the signature check, code of the refusal
        (good,      Some(SECRET),  "verified", ""),
        (good,      Some("other"), "invalid",  "signature_invalid"),
        (good,      None,          "missing",  "signature_missing"),
        ("9.9.9.9", Some(SECRET),  "verified", "source_not_allowed"),
        ("9.9.9.9", Some("other"), "invalid",  "source_not_allowed"),
    ];
    for (n, (source, secret, verdict, code)) in table.into_iter().enumerate() {
        let body = json!({ "n": n }).to_string();
        let mut request = stack.http.post(format!("{}{CALL_STATUS}", stack.base)).body(body.clone());
        request = request.header("x-forwarded-for", source);
        if let Some(secret) = secret {
            request = request.header("elevenlabs-signature", sign(secret, &body));
        }
        let answer = stack.send(request).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let message = stack.message(streams::WEBHOOKS, n as u64 + 1).await;
        let header = |name: &str| message.headers.get(name).map(ToString::to_string).unwrap_or_default();
        assert_eq!(header(streams::header::SIGNATURE), verdict);
        assert_eq!(header(streams::header::WOULD_REFUSE), code);
        assert_eq!(header(streams::header::SOURCE_IP), source);
    }
    let metrics = stack.gateway.metrics(&stack.http).await;
    for (source, signature, count) in [
        ("allowed", "verified", 1),
        ("allowed", "invalid", 1),
        ("refused", "verified", 1),
        ("refused", "invalid", 1),
    ] {
        let line = format!(
            "aftercall_webhook_origins_total{{route=\"elevenlabs_call_status\",source=\"{source}\",signature=\"{signature}\"}} {count}"
        );
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    assert!(
        metrics.contains("aftercall_webhooks_observed_total{code=\"source_not_allowed\"} 2"),
        "{metrics}"
    );
}

#[tokio::test]
async fn metrics_distinguish_refused_sources_by_their_signature() {
    let stack = TestStack::builder()
        .without_worker()
        .gateway_env("ALLOWED_SOURCES", "203.0.113.0/24")
        .gateway_env("ELEVENLABS_WEBHOOK_SECRET", SECRET)
        .start()
        .await;
    assert_eq!(post_signed(&stack, SECRET, "{}").await, 403);
    assert_eq!(post_signed(&stack, "other", "{}").await, 403);
    assert_eq!(stack.post_to(CALL_STATUS, "{}").await.code(), "source_not_allowed");
    let metrics = stack.gateway.metrics(&stack.http).await;
    for signature in ["verified", "invalid", "unchecked"] {
        let line = format!("source=\"refused\",signature=\"{signature}\"}} 1");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 0);
}

#[tokio::test]
async fn header_secret_is_required_if_it_is_set() {
    let stack = TestStack::builder()
        .without_worker()
        .gateway_env("WEBHOOK_HEADER_SECRET", "X-Hook: one, two")
        .start()
        .await;
    for (value, status, code) in [
        (Some("one"), 200, ""),
        (Some("two"), 200, ""),
        (Some("three"), 401, "header_secret_invalid"),
        (None, 401, "header_secret_invalid"),
    ] {
        let mut request = stack.http.post(format!("{}{CALL_STATUS}", stack.base)).body("{}");
        if let Some(value) = value {
            request = request.header("x-hook", value);
        }
        let answer = stack.send(request).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{value:?}");
    }
}

#[tokio::test]
async fn secret_is_replaced_by_a_signal_without_a_lost_request() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.env");
    let write = |secrets: &str, sources: &str| {
        let text = format!("# policy\nELEVENLABS_WEBHOOK_SECRET=\"{secrets}\"\nALLOWED_SOURCES={sources}\n");
        std::fs::write(&file, text).unwrap();
    };
    write("wsec_a", "loopback");
    let mut stack =
        TestStack::builder().without_worker().gateway_env("ENV_FILE", file.to_str().unwrap()).start().await;

    // After the first signal both secrets are valid, so that a sender can change its secret at any time.
    write("wsec_a,wsec_b", "loopback");
    let (base, http) = (stack.base.clone(), stack.http.clone());
    let mut senders = tokio::task::JoinSet::new();
    let stop = tokio_util::sync::CancellationToken::new();
    for sender in 0..4 {
        let (base, http, stop) = (base.clone(), http.clone(), stop.clone());
        senders.spawn(async move {
            let mut posted = 0;
            while !stop.is_cancelled() {
                let body = json!({ "sender": sender, "n": posted }).to_string();
                let request = http
                    .post(format!("{base}{CALL_STATUS}"))
                    .header("elevenlabs-signature", sign("wsec_a", &body));
                assert_eq!(request.body(body).send().await.unwrap().status(), 200);
                posted += 1;
            }
            posted
        });
    }
    stack.gateway.signal(Signal::SIGHUP);
    let until_valid = async |secret: &str| {
        until("the new secret is valid", async || {
            (post_signed(&stack, secret, &json!({ "probe": secret }).to_string()).await == 200).then_some(())
        })
        .await;
    };
    until_valid("wsec_b").await;
    stop.cancel();
    let posted: u64 = within("the senders end", senders.join_all()).await.into_iter().sum();
    assert!(posted > 0);
    assert_eq!(stack.stored(streams::WEBHOOKS).await, posted + 1);

    // An invalid file changes nothing. The log names the line or the variable.
    write("wsec_c", "nowhere");
    stack.gateway.signal(Signal::SIGHUP);
    until("the refusal is logged", async || stack.gateway.log().contains("ALLOWED_SOURCES: ").then_some(()))
        .await;
    assert_eq!(post_signed(&stack, "wsec_a", "{\"still\":1}").await, 200);

    write("wsec_c", "loopback");
    stack.gateway.signal(Signal::SIGHUP);
    until("the old secret is refused", async || {
        (post_signed(&stack, "wsec_a", "{\"late\":1}").await == 401).then_some(())
    })
    .await;
    assert_eq!(post_signed(&stack, "wsec_c", "{\"new\":1}").await, 200);
    assert!(!stack.gateway.log().contains("wsec_"));
}
