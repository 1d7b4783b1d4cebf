//! The forms of endpoints in the console: one adds an endpoint, one changes its filter.

use serde_json::json;
use thirtyfour::Key;

use super::{
    browser::with_browser,
    endpoints::{complaints, open, start, tab_to, type_keys},
};
use crate::{
    endpoints::{add, publish, receiver::Receiver},
    harness::until_equal,
};

#[tokio::test]
async fn a_form_that_is_sent_again_adds_no_second_endpoint() {
    with_browser(async |browser| {
        let shown = start().await;
        let receiver = Receiver::accepting().await;
        browser.open(&shown.link()).await;
        open(browser, &shown, "/endpoints/new").await;
        browser.fill("#url", &receiver.url("/hook")).await;
        let id = browser.eval("document.querySelector('[name=id]').value").await;
        let id = id.as_str().unwrap().to_owned();
        browser.click("button.primary").await;
        let secret = browser.see("#secret").await.text().await.unwrap();
        // The browser sends the form again, as after a confirmed question.
        browser.driver.refresh().await.unwrap();
        browser.read("#added", "has added this endpoint before").await;
        browser.read("#added", "rotate the secret").await;
        assert_eq!(browser.serious_findings().await, Vec::<String>::new());
        let again = format!("id={id}&url=https%3A%2F%2Fexample.com%2F&kind=events");
        let (status, page) = shown.post("/endpoints", &again).await;
        assert!(status == 200 && page.contains("has added this endpoint before"), "{status}: {page}");
        assert!(!page.contains("whsec_") && !page.contains(&secret));
        assert_eq!(shown.page("/endpoints").await.1.matches("<tr role=\"row\" id=").count(), 1);
        // Another form adds another endpoint.
        open(browser, &shown, "/endpoints/new").await;
        let other = browser.eval("document.querySelector('[name=id]').value").await;
        assert_ne!(other, id.as_str());
        let (status, page) = shown.post("/endpoints", "url=https%3A%2F%2Fexample.com%2F&kind=events").await;
        assert!(status == 422 && page.contains("The form is incomplete"), "{status}: {page}");
    })
    .await;
}

#[tokio::test]
async fn the_filter_of_an_endpoint_is_changed_by_keyboard() {
    with_browser(async |browser| {
        let shown = start().await;
        let receiver = Receiver::accepting().await;
        let (endpoint, _) = add(&shown.stack, &receiver.url("/"), &["--batches", "batch_1"]).await;
        browser.open(&shown.link()).await;
        open(browser, &shown, &format!("/endpoints/{endpoint}")).await;
        browser.read("#page", "only batches batch_1").await;
        tab_to(browser, "#filter summary").await;
        type_keys(browser, Key::Enter).await;
        tab_to(browser, "#filter [value='call.status']").await;
        type_keys(browser, " ").await;
        tab_to(browser, "#agents").await;
        type_keys(browser, "a".repeat(201)).await;
        assert_eq!(browser.eval("document.querySelector('#batches').value").await, "batch_1");
        browser.fill("#batches", "").await;
        browser.picture("endpoint-filter").await;
        assert_eq!(browser.serious_findings().await, Vec::<String>::new());
        type_keys(browser, Key::Enter).await;
        browser.read("#filter-problem", "A filter has at most 100 entries").await;
        assert_eq!(browser.eval("document.querySelector('#filter').open").await, true);
        assert_eq!(browser.eval("document.querySelector('#agents').value.length").await, 201);
        browser.fill("#agents", "agent_2").await;
        tab_to(browser, "#filter button").await;
        type_keys(browser, Key::Enter).await;
        browser.read("#page", "only agents agent_2").await;
        browser.read("#page", "only types call.status").await;
        let page = shown.page(&format!("/endpoints/{endpoint}")).await.1;
        assert!(!page.contains("only batches"), "{page}");

        tokio::time::sleep(std::time::Duration::from_secs(4)).await; // A change takes effect within two seconds.
        let event = async |kind: &str, agent: &str, n: u64| {
            publish(&shown.stack, kind, "CA1", n, json!({ "agentId": agent })).await
        };
        event("call.outcome", "agent_2", 1).await;
        event("call.status", "agent_1", 2).await;
        let wanted = event("call.status", "agent_2", 3).await;
        until_equal("the selected event", vec![wanted], async || receiver.ids()).await;
        assert_eq!(complaints(browser).await, Vec::<String>::new());
    })
    .await;
}
