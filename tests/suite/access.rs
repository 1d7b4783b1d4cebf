//! Access to the gateway: tokens, source addresses, callers on this machine, web pages, and Twilio's route.

use aftercall_common::contract::streams;
use aftercall_local::process::Signal;
use mongodb::bson::doc;
use serde_json::json;

use crate::harness::{
    CALL_STATUS, LOOKUP, Service, TWILIO_CALL_STATUS, TestStack, test_timeout, twilio_signature, until,
};

const PLACE: &str = "/api/agent-calls";

/// A stack without a worker, with further variables of the gateway.
async fn gateway(vars: &[(&str, &str)]) -> TestStack {
    let setup = TestStack::builder().without_worker();
    vars.iter().fold(setup, |setup, (name, value)| setup.gateway_env(name, value)).start().await
}

/// Posts a webhook with these headers. Returns status and error code.
async fn post(stack: &TestStack, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let body = json!({ "event_type": "call.busy", "call_id": format!("{path}{headers:?}") }).to_string();
    let request = stack.http.post(format!("{}{path}", stack.base)).body(body);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = stack.send(request).await;
    (answer.status, answer.code().to_owned())
}

/// The status and the error code of a response; the code is empty for 200.
fn response(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn gateway_without_secrets_starts_only_with_allow_unsigned() {
    let (status, log) =
        Service::run_to_exit("gateway", &[("ALLOW_UNSIGNED", ""), ("LISTEN_ADDR", "127.0.0.1:0")]).await;
    let last = log.lines().last().unwrap();
    assert_eq!(status, Some(78), "{log}");
    assert!(last.contains("ELEVENLABS_WEBHOOK_SECRET") && last.contains("ALLOW_UNSIGNED=true"), "{last}");
}

#[tokio::test]
async fn call_routes_require_a_token_by_default() {
    let stack = gateway(&[("API_ANONYMOUS", ""), ("API_TOKEN", "full"), ("API_READ_TOKEN", "read")]).await;
    let bearer = |token: &str| format!("Bearer {token}");
    for (path, token, expected) in [
        (LOOKUP, None, response(401, "unauthorized")),
        (PLACE, None, response(401, "unauthorized")),
        (LOOKUP, Some("wrong"), response(401, "unauthorized")),
        (LOOKUP, Some("read"), response(503, "no_worker")),
        (PLACE, Some("read"), response(401, "unauthorized")),
        (LOOKUP, Some("full"), response(503, "no_worker")),
        (PLACE, Some("full"), response(503, "no_worker")),
    ] {
        let header = token.map(bearer).unwrap_or_default();
        let headers = [("authorization", header.as_str())];
        let headers = if token.is_some() { &headers[..] } else { &[] };
        assert_eq!(post(&stack, path, headers).await, expected, "{path} {token:?}");
    }
}

#[tokio::test]
async fn call_routes_without_a_token_serve_only_programs_on_this_machine() {
    let stack = gateway(&[("TRUSTED_PROXIES", "127.0.0.8")]).await; // API_ANONYMOUS is `all`.
    let own = stack.base.clone();
    for (headers, expected) in [
        (&[][..], response(503, "no_worker")),
        (&[("origin", own.as_str()), ("sec-fetch-site", "same-origin")], response(503, "no_worker")),
        (&[("origin", "https://evil.example")], response(401, "unauthorized")),
        (&[("sec-fetch-site", "cross-site")], response(401, "unauthorized")),
        (&[("host", "evil.example")], response(401, "unauthorized")),
        (&[("x-forwarded-for", "127.0.0.1")], response(403, "untrusted_proxy")),
        (&[("x-real-ip", "127.0.0.1")], response(403, "untrusted_proxy")),
        (&[("forwarded", "for=127.0.0.1")], response(403, "untrusted_proxy")),
    ] {
        for path in [LOOKUP, PLACE] {
            assert_eq!(post(&stack, path, headers).await, expected, "{path} {headers:?}");
        }
    }
    assert!(stack.gateway.log().contains("TRUSTED_PROXIES"), "the log names the setting");
    let proxied = aftercall_local::http_client_builder(test_timeout())
        .local_address(std::net::IpAddr::from([127, 0, 0, 8]))
        .build()
        .unwrap();
    for forwarded in [None, Some("127.0.0.1")] {
        let request = proxied.post(format!("{}{PLACE}", stack.base)).body("{}");
        let request = forwarded.into_iter().fold(request, |r, value| r.header("x-forwarded-for", value));
        assert_eq!(
            stack.send(request).await.status,
            401,
            "a trusted proxy is not this machine: {forwarded:?}"
        );
    }
}

#[tokio::test]
async fn a_web_page_cannot_post_webhooks_if_only_the_address_is_checked() {
    let stack = gateway(&[]).await;
    for (headers, expected) in [
        (&[][..], response(200, "")),
        (&[("host", "gateway.internal")], response(200, "")),
        (&[("origin", "https://evil.example")], response(403, "cross_site_request")),
        (&[("sec-fetch-site", "cross-site")], response(403, "cross_site_request")),
        (&[("host", "evil.example"), ("origin", "http://evil.example")], response(403, "cross_site_request")),
    ] {
        assert_eq!(post(&stack, CALL_STATUS, headers).await, expected, "{headers:?}");
    }
}

#[tokio::test]
async fn another_dialler_authenticates_with_the_events_token() {
    let vars = [
        ("EVENTS_TOKEN", "mine, next"),
        ("ELEVENLABS_WEBHOOK_SECRET", "wsec"),
        ("ALLOWED_SOURCES", "elevenlabs"),
    ];
    let stack = gateway(&vars).await;
    for (headers, expected) in [
        (&[("authorization", "Bearer mine")][..], response(200, "")),
        (&[("authorization", "bearer next")], response(200, "")),
        (&[("authorization", "Bearer other")], response(401, "unauthorized")),
        (
            &[("authorization", "Bearer mine"), ("x-forwarded-for", "9.9.9.9")],
            response(403, "untrusted_proxy"),
        ),
        (&[], response(403, "source_not_allowed")),
    ] {
        assert_eq!(post(&stack, CALL_STATUS, headers).await, expected, "{headers:?}");
    }
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 2);
    let message = stack.message(streams::WEBHOOKS, 1).await;
    assert_eq!(message.headers.get(streams::header::SIGNATURE).unwrap().as_str(), "token");
}

#[tokio::test]
async fn twilio_route_answers_404_without_an_auth_token() {
    let setup = TestStack::builder().without_worker().gateway_unset("TWILIO_AUTH_TOKEN");
    let closed = setup.gateway_unset("PUBLIC_URL").start().await;
    assert_eq!(post(&closed, TWILIO_CALL_STATUS, &[]).await, response(404, "not_found"));
    assert!(closed.gateway.log().contains("set TWILIO_AUTH_TOKEN and PUBLIC_URL"), "the log says what to do");
    // The route requires Twilio's signature, whatever the route of ElevenLabs requires.
    let open = gateway(&[]).await;
    let foreign = [("elevenlabs-signature", "t=1,v0=ab"), ("authorization", "Bearer x")];
    assert_eq!(post(&open, TWILIO_CALL_STATUS, &foreign).await, response(401, "signature_missing"));
    for (unset, named) in [("PUBLIC_URL", "TWILIO_AUTH_TOKEN"), ("TWILIO_AUTH_TOKEN", "PUBLIC_URL")] {
        let value = if named == "PUBLIC_URL" { "t" } else { "https://h.example" };
        let (status, log) = Service::run_to_exit("gateway", &[(unset, value)]).await;
        assert_eq!(status, Some(78), "{unset} alone: {log}");
        assert!(log.contains(named), "{unset} alone: {log}");
    }
}

#[tokio::test]
async fn twilio_callbacks_are_accepted_by_get_and_keep_their_query() {
    let stack = TestStack::start().await;
    let url =
        format!("{}{TWILIO_CALL_STATUS}?CallSid=CAget&CallStatus=ringing&To=%2B15005550006", stack.base);
    let get = async |url: &str| {
        let request = stack.http.get(url).header("x-twilio-signature", twilio_signature(url, ""));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(get(&url).await, 200);
    stack.until_call("CAget", doc! { "status": "ringing", "toNumber": "+15005550006" }).await;
    let forged = url.replace("ringing", "busy");
    let request = stack.http.get(&forged).header("x-twilio-signature", twilio_signature(&url, ""));
    assert_eq!(request.send().await.unwrap().status(), 401);

    let answer = stack.twilio_to("?lead=42&note=a%20b", "CallSid=CAquery&CallStatus=busy").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    // Twilio signs query and form as one text, so that a signature covers several divisions of it. They are
    // the same webhook.
    let form = "AccountSid=AC1&CallSid=CAdivided&CallStatus=busy";
    let first = stack.twilio_to("?lead=42", form).await;
    let whole = format!("{}{TWILIO_CALL_STATUS}?lead=42", stack.base);
    let request = stack.http.post(format!("{whole}AccountSidAC1"));
    let request = request.header("x-twilio-signature", twilio_signature(&whole, form));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let divided = request.body("CallSid=CAdivided&CallStatus=busy").send().await.unwrap();
    let divided: serde_json::Value = divided.json().await.unwrap();
    assert_eq!((&divided["id"], &divided["duplicate"]), (&first.body["id"], &json!(true)), "{divided}");
    let message = stack.message(streams::WEBHOOKS, 2).await;
    assert_eq!(message.headers.get(streams::header::QUERY).unwrap().as_str(), "lead=42&note=a%20b");
    assert_eq!(message.payload, "CallSid=CAquery&CallStatus=busy");
}

#[tokio::test]
async fn repeated_and_trailing_slashes_lead_to_the_same_route_and_webhook() {
    let stack = gateway(&[]).await;
    let body = json!({ "event_type": "call.busy", "call_id": "c" }).to_string();
    let mut ids = Vec::new();
    for path in
        [CALL_STATUS, "/api/webhooks/elevenlabs/call-status/", "//api//webhooks/elevenlabs/call-status"]
    {
        let answer = stack.post_to(path, body.clone()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        ids.push(answer.body["id"].clone());
    }
    assert_eq!((&ids[0], &ids[0]), (&ids[1], &ids[2]));
    assert_eq!(stack.post_to("/api/webhooks/elevenlabs/call%2Dstatus", body).await.status, 404);
    assert!(
        stack.gateway.log().contains("/api/webhooks/elevenlabs/call%2Dstatus"),
        "an unknown path is logged"
    );
}

#[tokio::test]
async fn a_reload_without_a_secret_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.env");
    let secrets = "ELEVENLABS_WEBHOOK_SECRET=wsec_a\nEVENTS_TOKEN=mine\nAPI_TOKEN=full\n";
    std::fs::write(&file, secrets).unwrap();
    let mut stack = gateway(&[("ENV_FILE", file.to_str().unwrap()), ("API_ANONYMOUS", "")]).await;
    let mut refusals = 0;
    // Four files: an empty one, one without the last secret, one with an empty secret, and one cut off in a
    // value.
    let without_one = "ELEVENLABS_WEBHOOK_SECRET=wsec_a\nEVENTS_TOKEN=mine\n";
    let cut_in_a_value = secrets.trim_end_matches("ll\n");
    for text in ["\n", without_one, &secrets.replace("=mine", "="), cut_in_a_value] {
        std::fs::write(&file, text).unwrap();
        stack.gateway.signal(Signal::SIGHUP);
        refusals += 1;
        until("the refusal is logged", async || {
            (stack.gateway.log().matches("the policy cannot be reloaded").count() == refusals).then_some(())
        })
        .await;
        assert_eq!(post(&stack, CALL_STATUS, &[]).await, response(401, "signature_missing"), "{text:?}");
        assert_eq!(post(&stack, LOOKUP, &[]).await, response(401, "unauthorized"), "{text:?}");
        let token = [("authorization", "Bearer mine"), ("x-n", &"x".repeat(refusals))];
        assert_eq!(post(&stack, CALL_STATUS, &token).await, response(200, ""), "{text:?}");
    }
    let log = stack.gateway.log();
    assert!(
        log.contains("API_TOKEN: ") && log.contains("EVENTS_TOKEN: ") && !log.contains("wsec_a"),
        "{log}"
    );
}

#[tokio::test]
async fn a_reload_reports_only_changes_that_need_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.env");
    std::fs::write(&file, "EVENTS_TOKEN=a\n").unwrap();
    // The limit lowers MAX_CONNECTIONS, which is not a change of the file.
    let setup = TestStack::builder().without_worker().gateway_shell_prefix("ulimit -n 64 && exec");
    let mut stack = setup.gateway_env("ENV_FILE", file.to_str().unwrap()).start().await;
    for (text, restart) in [("EVENTS_TOKEN=b\n", false), ("EVENTS_TOKEN=c\nRUST_LOG=warn\n", true)] {
        let reloads = stack.gateway.log().matches("the policy was reloaded").count();
        std::fs::write(&file, text).unwrap();
        stack.gateway.signal(Signal::SIGHUP);
        until("the policy is reloaded", async || {
            (stack.gateway.log().matches("the policy was reloaded").count() > reloads).then_some(())
        })
        .await;
        let log = stack.gateway.log();
        assert!(log.contains("MAX_CONNECTIONS is more than the limit"), "{log}");
        assert_eq!(log.contains("restart the gateway to apply it"), restart, "{text}: {log}");
    }
}
