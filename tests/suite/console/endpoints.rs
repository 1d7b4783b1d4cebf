//! Endpoints and deliveries in the console: added, tested, paused, resumed, rotated, removed, replayed.

use mongodb::bson::{DateTime, Document, doc};
use serde_json::json;
use standardwebhooks::Webhook;
use thirtyfour::{Key, TypingData};

use super::{
    ConsoleStack,
    accessibility::findings,
    browser::{Browser, with_browser},
    setup,
};
use crate::{
    endpoints::{
        add, publish,
        receiver::{Answer, Receiver},
    },
    harness::{until, until_equal, value},
};

/// A stack with a console whose worker also delivers, also to receivers on this machine.
pub async fn start() -> ConsoleStack {
    let (setup, console) = setup();
    let setup =
        setup.worker_env("ROLES", "deliver,console").worker_env("DELIVER_TO_PRIVATE_NETWORKS", "true");
    ConsoleStack { stack: setup.start().await, console }
}

/// Opens a page and waits until it is live.
pub async fn open(browser: &Browser, shown: &ConsoleStack, path: &str) {
    browser.open_live(&format!("{}{path}", shown.console)).await;
}

/// Presses Tab until the element has the focus, as somebody without a mouse does.
pub async fn tab_to(browser: &Browser, selector: &str) {
    let focused = format!("document.activeElement === document.querySelector({})", json!(selector));
    for _ in 0..60 {
        if browser.eval(&focused).await == true {
            return;
        }
        let active = browser.driver.active_element().await.unwrap();
        active.send_keys(Key::Tab).await.unwrap();
    }
    panic!("{selector} does not get the focus by the keyboard");
}

/// Types into the element that has the focus.
pub async fn type_keys(browser: &Browser, keys: impl Into<TypingData>) {
    browser.driver.active_element().await.unwrap().send_keys(keys).await.unwrap();
}

/// New entries of the browser log, without the answers to wrong input.
pub async fn complaints(browser: &Browser) -> Vec<String> {
    let mut complaints = browser.complaints().await;
    complaints.retain(|line| !line.contains("status of 422"));
    complaints
}

/// Waits until the worker's metric says that this many endpoints have the state.
async fn until_state(shown: &ConsoleStack, state: &str, count: f64) {
    let metric = format!("aftercall_endpoints{{state=\"{state}\"}}");
    let known = async || value(&shown.stack.workers[0].metrics(&shown.stack.http).await, &metric);
    until_equal(&metric, Some(count), known).await;
}

#[tokio::test]
async fn an_endpoint_is_added_tested_paused_resumed_rotated_and_removed_by_keyboard() {
    with_browser(async |browser| {
        let shown = start().await;
        let receiver = Receiver::start(|_| Answer::status(202).saying("thanks, +12025550123")).await;
        browser.open(&shown.link()).await;
        open(browser, &shown, "/endpoints").await;
        browser.read("#page", "None.").await;

        // Wrong input is shown beside the form with what was typed.
        tab_to(browser, "a[href=\"/endpoints/new\"]").await;
        type_keys(browser, Key::Enter).await;
        browser.see("#url").await;
        tab_to(browser, "#url").await;
        type_keys(browser, receiver.url("/services/t0ken")).await;
        tab_to(browser, "#agents").await;
        type_keys(browser, "agent_1, agent_2").await;
        tab_to(browser, "#since").await;
        type_keys(browser, "soon").await;
        type_keys(browser, Key::Enter).await;
        browser.read("#problem", "The time must be like").await;
        assert_eq!(browser.eval("document.querySelector('#agents').value").await, "agent_1, agent_2");
        assert_eq!(
            browser.eval("document.querySelector('#url').value").await,
            receiver.url("/services/t0ken")
        );
        browser.fill("#since", "").await;
        tab_to(browser, "button.primary").await;
        type_keys(browser, Key::Enter).await;
        let secret = browser.see("#secret").await.text().await.unwrap();
        browser.picture("endpoint-secret").await;
        assert_eq!(browser.serious_findings().await, Vec::<String>::new());

        // The secret is shown once, and signs what comes.
        tab_to(browser, "button.primary").await;
        type_keys(browser, Key::Enter).await;
        browser.read("#tested", "status 202 after").await;
        browser.read("#tested", "thanks, +12").await;
        browser.picture("endpoint-tested").await;
        assert_eq!(browser.serious_findings().await, Vec::<String>::new());
        let requests = receiver.received();
        assert_eq!(requests[0].json()["type"], "test.ping");
        Webhook::new(&secret).unwrap().verify(&requests[0].body, &requests[0].headers).unwrap();
        let path = browser.address().await.replace("/test", "");
        let page = shown.page(&path).await.1;
        for hidden in ["whsec_", "t0ken", "+12025550123"] {
            assert!(!page.contains(hidden), "{hidden}");
        }
        let event = async |call: &str, agent: &str| {
            publish(&shown.stack, "call.status", call, 1, json!({ "agentId": agent })).await
        };
        let first = event("CA1", "agent_2").await;
        event("CA2", "agent_3").await;
        until("the first event", async || receiver.ids().contains(&first).then_some(())).await;

        // A paused endpoint gets nothing until it is resumed.
        open(browser, &shown, &path).await;
        tab_to(browser, "form[action$=pause] button").await;
        type_keys(browser, Key::Enter).await;
        browser.read("#condition", "paused").await;
        until_state(&shown, "operator", 1.0).await;
        let second = event("CA3", "agent_1").await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(receiver.ids()[1..], [first.as_str()]);
        tab_to(browser, "form[action$=resume] button").await;
        type_keys(browser, Key::Enter).await;
        browser.read("#condition", "active").await;
        until("the second event", async || receiver.ids().contains(&second).then_some(())).await;

        // After a rotation requests are signed by both secrets.
        tab_to(browser, "#rotate summary").await;
        type_keys(browser, Key::Enter).await;
        tab_to(browser, "#overlap").await;
        type_keys(browser, Key::Control + "a").await;
        type_keys(browser, "a day").await;
        type_keys(browser, Key::Enter).await;
        browser.read("#problem", "Enter a time such as 24h").await;
        assert_eq!(browser.eval("document.querySelector('#overlap').value").await, "a day");
        browser.fill("#overlap", "2h").await;
        tab_to(browser, "#rotate button").await;
        type_keys(browser, Key::Enter).await;
        let rotated = browser.see("#secret").await.text().await.unwrap();
        assert!(rotated != secret && rotated.starts_with("whsec_"), "{}", rotated.len());
        browser.read("#page", "signed by the old and by the new secret").await;
        browser.click("button.primary").await;
        browser.read("#tested", "status 202").await;
        let request = receiver.received().into_iter().last().unwrap();
        for secret in [&secret, &rotated] {
            Webhook::new(secret).unwrap().verify(&request.body, &request.headers).unwrap();
        }

        // Removing needs a confirmation.
        tab_to(browser, "summary.danger").await;
        type_keys(browser, Key::Enter).await;
        tab_to(browser, "button.danger").await;
        type_keys(browser, Key::Enter).await;
        browser.read("#page", "None.").await;
        assert_eq!(shown.page(&path).await.0, 404);
        let log = shown.stack.workers[0].log();
        for hidden in [secret.as_str(), &rotated, "t0ken"] {
            assert!(!log.contains(hidden), "{log}");
        }
        assert_eq!(complaints(browser).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn deliveries_are_shown_with_their_attempts_and_sent_again() {
    with_browser(async |browser| {
        let shown = start().await;
        let receiver = Receiver::start(|_| Answer::status(400).saying("no thanks, +12025550123")).await;
        let other = Receiver::accepting().await;
        let (endpoint, _) = add(&shown.stack, &receiver.url("/"), &[]).await;
        add(&shown.stack, &other.url("/"), &[]).await;
        let id = publish(&shown.stack, "call.outcome", "CA1", 1, json!({})).await;
        until("the first attempt", async || receiver.ids().contains(&id).then_some(())).await;
        browser.open(&shown.link()).await;
        open(browser, &shown, "/endpoints").await;
        browser.read(&format!("#{endpoint}"), "failing for").await;
        browser.read(&format!("#{endpoint} td.count"), "1").await;
        browser.click(&format!("#{endpoint} a")).await;
        browser.read(".deliveries", "waiting").await;
        browser.read(".deliveries", "status 400").await;

        // One message.
        browser.click(".deliveries td.event a").await;
        browser.read(".attempts", "status 400 after").await;
        browser.read(".attempts pre", "no thanks, +12•").await;
        receiver.answer(|_| Answer::status(200));
        let before = receiver.ids().len();
        tab_to(browser, ".choice summary").await;
        type_keys(browser, Key::Enter).await;
        tab_to(browser, ".choice button").await;
        type_keys(browser, Key::Enter).await;
        browser.read("#sent", "sent again").await;
        until("the replayed message", async || (receiver.ids().len() > before).then_some(())).await;
        browser.read(".attempts li:first-child", "status 200").await;

        // All messages of the endpoint since a time.
        let later = publish(&shown.stack, "call.outcome", "CA2", 1, json!({})).await;
        until("the second message", async || receiver.ids().contains(&later).then_some(())).await;
        open(browser, &shown, &format!("/endpoints/{endpoint}")).await;
        until("its record", async || {
            open(browser, &shown, &format!("/endpoints/{endpoint}")).await;
            (browser.count(".deliveries tbody tr").await == 2).then_some(())
        })
        .await;
        let (before, others) = (receiver.ids().len(), other.ids().len());
        browser.click(".choices details:first-of-type summary").await;
        browser.fill("#since", "1h").await;
        browser.click("#state option[value='']").await;
        browser.click(".choices details:first-of-type button").await;
        browser.read("details.replay summary", "Send 2 again").await;
        tab_to(browser, "details.replay summary").await;
        type_keys(browser, Key::Enter).await;
        tab_to(browser, "details.replay button").await;
        type_keys(browser, Key::Enter).await;
        browser.read("#outcome", "2 messages are sent again.").await;
        // The first attempt of one of them failed, so its schedule sends it too.
        until("both messages", async || {
            let ids = receiver.ids().split_off(before);
            [&id, &later].iter().all(|id| ids.contains(id)).then_some(())
        })
        .await;
        assert_eq!(other.ids().len(), others, "the other endpoint gets nothing again");

        // A wrong time is shown with what was typed.
        open(browser, &shown, "/deliveries?since=soon").await;
        browser.read("#problem", "The time must be like").await;
        assert_eq!(browser.eval("document.querySelector('#since').value").await, "soon");
        assert_eq!(browser.count("#page .empty-note").await, 0, "a wrong filter is not an empty list");
        assert_eq!(complaints(browser).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn pages_of_endpoints_pass_axe_core_wide_and_narrow_light_and_dark() {
    with_browser(async |browser| {
        let shown = start().await;
        let working = Receiver::start(|_| Answer::status(200).saying("{\"ok\":true}")).await;
        let failing = Receiver::start(|_| Answer::status(503).saying("down for maintenance")).await;
        let (first, _) =
            add(&shown.stack, &working.url("/hooks"), &["--types", "call.outcome,call.transcript"]).await;
        let (second, _) = add(&shown.stack, &failing.url("/"), &["--agents", "agent_1,agent_2"]).await;
        let (third, _) =
            add(&shown.stack, &working.url("/raw"), &["--kind", "raw", "--types", "elevenlabs"]).await;
        let mut id = String::new();
        for n in 0..8 {
            let call = format!("CA{n:032x}");
            id = publish(&shown.stack, "call.outcome", &call, 1, json!({ "agentId": "agent_1" })).await;
        }
        until("deliveries", async || {
            let counts = [&working, &failing].map(|receiver| receiver.ids().len());
            (counts[0] >= 8 && counts[1] >= 8).then_some(())
        })
        .await;
        browser.open(&shown.link()).await;
        shown.post(&format!("/endpoints/{third}/pause"), "").await;
        let delivery = format!("/deliveries/{second}%3A{}", id.replace(':', "%3A"));
        until("the record", async || (shown.page(&delivery).await.0 == 200).then_some(())).await;
        let (working, failing) = (format!("/endpoints/{first}"), format!("/endpoints/{second}"));
        let filtered = format!("/deliveries?endpoint={first}&state=delivered");
        let pages = [
            ("endpoints", "/endpoints"),
            ("endpoint-new", "/endpoints/new"),
            ("endpoint", working.as_str()),
            ("endpoint-failing", failing.as_str()),
            ("deliveries", "/deliveries"),
            ("deliveries-filtered", filtered.as_str()),
            ("deliveries-wrong", "/deliveries?since=soon"),
            ("delivery", delivery.as_str()),
        ];
        let findings = findings(browser, &shown, &pages).await;
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    })
    .await;
}

#[tokio::test]
async fn many_messages_are_sent_again_in_several_requests() {
    let shown = start().await;
    let receiver = Receiver::accepting().await;
    let (endpoint, _) = add(&shown.stack, &receiver.url("/"), &[]).await;
    let record = |n: i64| {
        let at = DateTime::from_millis(DateTime::now().timestamp_millis() - n);
        doc! {
            "_id": format!("{endpoint}:m{n}"), "endpointId": &endpoint, "messageId": format!("m{n}"), "type": "call.status",
            "stream": "CALLS", "sequence": 1_000_000 + n, "state": "failed", "attemptCount": 1, "attempts": [],
            "createdAt": at, "updatedAt": at,
        }
    };
    let calls = &shown.stack.calls;
    let deliveries = calls.client().database(&calls.namespace().db).collection::<Document>("deliveries");
    deliveries.insert_many((0..2_030).map(record)).await.unwrap();

    let (_, first) = shown.post("/deliveries/replay", &format!("endpoint={endpoint}&state=failed")).await;
    assert!(first.contains("2,000 messages are sent again. More match."), "{first}");
    let hidden = |name: &str| {
        let value = first.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap();
        value[..value.find('"').unwrap()].to_owned()
    };
    assert_eq!(hidden("sent"), "2000");
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(["endpoint", "state", "before", "sent"].map(|name| (name, hidden(name))))
        .finish();
    let (_, second) = shown.post("/deliveries/replay", &form).await;
    assert!(second.contains("2,030 messages are sent again.") && !second.contains("More match"), "{second}");
    // Their messages are not in the stream, which each job finds out.
    until_equal("attempts", 2_030, async || {
        deliveries.count_documents(doc! { "attemptCount": 2 }).await.unwrap()
    })
    .await;

    for (body, text) in [
        ("state=failed", "Choose an endpoint or a call first."),
        ("endpoint=ep_1", "This is not the id of an endpoint."),
        (&format!("endpoint={endpoint}&stat=delivered"), "There is no filter “stat”."),
    ] {
        let (status, page) = shown.post("/deliveries/replay", body).await;
        assert!(status == 422 && page.contains(text), "{body}: {status} {page}");
    }
}

#[tokio::test]
async fn nothing_is_sent_again_to_an_endpoint_that_was_removed() {
    let shown = start().await;
    let receiver = Receiver::start(|_| Answer::status(500)).await;
    let (endpoint, _) = add(&shown.stack, &receiver.url("/"), &[]).await;
    let message = publish(&shown.stack, "call.status", "CA1", 1, json!({})).await;
    let id = format!("{endpoint}:{message}").replace(':', "%3A");
    until("the record", async || (shown.page(&format!("/deliveries/{id}")).await.0 == 200).then_some(()))
        .await;
    assert!(shown.page(&format!("/deliveries?endpoint={endpoint}")).await.1.contains("Send 1 again"));
    assert_eq!(shown.post(&format!("/endpoints/{endpoint}/remove"), "").await.0, 200);
    let (_, page) = shown.page(&format!("/deliveries/{id}")).await;
    assert!(page.contains("The endpoint was removed") && !page.contains("next attempt"), "{page}");
    assert!(!shown.page(&format!("/deliveries?endpoint={endpoint}")).await.1.contains("Send 1 again"));
    let (status, page) = shown.post(&format!("/deliveries/{id}/replay"), "").await;
    assert!(status == 422 && page.contains("was removed"), "{page}");
    let (code, said, stderr) =
        shown.stack.command(&["deliveries", "replay", &format!("{endpoint}:{message}")], &[]).await;
    assert!(code == Some(1) && stderr.contains("do not exist any more"), "{said}{stderr}");
}

#[tokio::test]
async fn requests_of_other_sites_change_no_endpoint() {
    let (setup, console) = setup();
    let setup = setup.worker_env("CONSOLE_PASSWORD", "correct horse battery");
    let shown = ConsoleStack { stack: setup.worker_env("ROLES", "console").start().await, console };
    let added = add(&shown.stack, "https://example.com/hook", &[]).await;
    for action in ["test", "pause", "resume", "rotate", "remove"] {
        let address = format!("{}/endpoints/{}/{action}", shown.console, added.0);
        let sent = shown.stack.http.post(address).basic_auth("operator", Some("correct horse battery"));
        let answer = sent.header("sec-fetch-site", "cross-site").send().await.unwrap();
        assert_eq!(answer.status(), 403, "{action}");
    }
    let (status, page) = shown.page(&format!("/endpoints/{}", added.0)).await;
    assert!(status == 200 && page.contains("active"), "{page}");
}

#[tokio::test]
async fn an_old_secret_cannot_stay_valid_for_ever() {
    let shown = start().await;
    let added = add(&shown.stack, "https://example.com/hook", &[]).await;
    for (overlap, expected, text) in [
        ("70000000h", 422, "An old secret can stay valid for 30 days at most."),
        ("721h", 422, "An old secret can stay valid for 30 days at most."),
        ("720h", 200, "New secret"),
        ("0s", 200, "New secret"),
    ] {
        let (status, page) =
            shown.post(&format!("/endpoints/{}/rotate", added.0), &format!("overlap={overlap}")).await;
        assert!(status == expected && page.contains(text), "{overlap}: {status} {page}");
    }
}
