//! The keys of the lists, the dialog that explains them, saved views, and the link of a filter.

use std::time::Duration;

use mongodb::bson::{DateTime, Document, doc};
use serde_json::json;
use thirtyfour::Key;

use super::{
    ConsoleStack,
    browser::{Browser, with_browser},
    event,
    filters::call,
    start,
};
use crate::harness::until_equal;

/// Presses keys where the focus is.
async fn press(browser: &Browser, keys: impl Into<thirtyfour::TypingData>) {
    browser.driver.action_chain().send_keys(keys).perform().await.unwrap();
}

/// Waits until the element with the focus is the one of this selector.
async fn until_focused(browser: &Browser, selector: &str) {
    let focused = format!("document.activeElement === document.querySelector({selector:?})");
    until_equal(&format!("{selector} has the focus"), json!(true), async || browser.eval(&focused).await)
        .await;
}

async fn with_calls() -> ConsoleStack {
    let shown = start(Duration::from_millis(50)).await;
    let calls = (1..=3).map(|n| call(n, n, doc! { "status": "ended", "outcome": "answered" }));
    shown.stack.calls.insert_many(calls).await.unwrap();
    shown
}

#[tokio::test]
async fn keys_move_through_the_calls_and_leave_fields_alone() {
    with_browser(async |browser| {
        let shown = with_calls().await;
        browser.open(&shown.link()).await;
        browser.open_live(&format!("{}/calls", shown.console)).await;
        let row = |n: usize| format!("#results tbody tr:nth-child({n}) td.who a");
        for (key, n) in [("j", 1), ("j", 2), ("j", 3), ("j", 3), ("k", 2)] {
            press(browser, key).await;
            until_focused(browser, &row(n)).await;
        }
        // The browser's own shortcuts keep their meaning.
        browser
            .driver
            .action_chain()
            .key_down(Key::Control)
            .send_keys("k")
            .key_up(Key::Control)
            .perform()
            .await
            .unwrap();
        until_focused(browser, &row(2)).await;

        press(browser, "/").await;
        until_focused(browser, "#q").await;
        press(browser, "jk?o/").await;
        assert_eq!(
            browser.eval("document.querySelector('#q').value").await,
            "jk?o/",
            "a field takes all keys"
        );
        assert_eq!(browser.count("dialog[open]").await, 0);

        browser.open_live(&format!("{}/calls", shown.console)).await;
        press(browser, "jjo").await;
        browser.see("article.call").await;
        assert_eq!(browser.address().await, "/calls/CA00002");
        browser.open_live(&format!("{}/calls", shown.console)).await;
        press(browser, "j").await;
        press(browser, Key::Enter + "").await;
        browser.see("article.call").await;
        assert_eq!(browser.address().await, "/calls/CA00001");
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn keys_are_listed_in_a_dialog_and_can_be_turned_off() {
    with_browser(async |browser| {
        let shown = with_calls().await;
        browser.open(&shown.link()).await;
        browser.open_live(&format!("{}/calls", shown.console)).await;
        press(browser, "?").await;
        browser.read("dialog[open]", "Next row of the list").await;
        for scheme in ["light", "dark"] {
            browser.scheme(scheme).await;
            browser.picture(&format!("keys-{scheme}")).await;
            assert_eq!(browser.serious_findings().await, Vec::<String>::new());
        }
        press(browser, "j").await;
        assert_eq!(browser.count("dialog[open]").await, 1, "no key of the list works behind the dialog");
        press(browser, Key::Escape + "").await;
        until_equal("the dialog is closed", 0, async || browser.count("dialog[open]").await).await;

        browser.click("#show-keys").await;
        browser.click("#keys-on").await;
        browser.click("dialog button[type=submit]").await;
        until_equal("the dialog is closed", 0, async || browser.count("dialog[open]").await).await;
        browser.open_live(&format!("{}/calls", shown.console)).await;
        press(browser, "?j/").await;
        assert_eq!(browser.count("dialog[open]").await, 0, "the choice is kept");
        assert_eq!(browser.eval("document.activeElement.closest('tr, form')").await, json!(null));
        // The button shows the switch, so the keys can be turned on again.
        browser.click("#show-keys").await;
        browser.click("#keys-on").await;
        press(browser, Key::Escape + "").await;
        press(browser, "j").await;
        until_focused(browser, "#results tbody tr:first-child td.who a").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn keys_work_in_the_lists_of_dead_letters_and_deliveries() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        browser.open(&shown.link()).await;
        shown.stack.webhook(&json!({ "event_type": "call.teleported", "call_id": "CAdead" })).await;
        shown.stack.all_acknowledged().await;
        let database = shown.stack.calls.client().database(&shown.stack.calls.namespace().db);
        let delivery = doc! {
            "_id": "ep_0123456789abcdef.1", "endpointId": "ep_0123456789abcdef", "messageId": "msg_1", "type": "call.status",
            "stream": "CALLS", "sequence": 1_i64, "state": "delivered", "attemptCount": 1, "createdAt": DateTime::now(),
        };
        database.collection::<Document>("deliveries").insert_one(delivery).await.unwrap();

        browser.open_live(&format!("{}/dead-letters", shown.console)).await;
        for address in ["/dead-letters?reason=unsupported_event&type=call.teleported", "/dead-letters/1"] {
            browser.until_live().await;
            browser.see("main tbody a").await;
            press(browser, "jo").await;
            until_equal("the opened page", address.to_owned(), async || browser.address().await).await;
        }

        browser.open_live(&format!("{}/deliveries", shown.console)).await;
        press(browser, "/").await;
        until_focused(browser, "#endpoint").await;
        browser.driver.execute("document.activeElement.blur()", vec![]).await.unwrap();
        press(browser, "j").await;
        until_focused(browser, ".deliveries tbody td.event a").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn views_are_saved_opened_and_removed_in_the_browser() {
    with_browser(async |browser| {
        let shown = with_calls().await;
        shown.stack.webhook(&event("CAbusy", "busy", jiff::Timestamp::now().as_second())).await;
        shown.stack.all_acknowledged().await;
        browser.open(&shown.link()).await;
        let names = async || {
            browser
                .eval("[...document.querySelectorAll('#views-list a')].map((view) => view.textContent)")
                .await
        };
        let save = async |name: &str| {
            browser.click("#views summary").await;
            browser.fill("#view-name", name).await;
            press(browser, Key::Enter + "").await;
            browser.read("#views-note", &format!("Saved: {name}")).await;
        };
        browser.open_live(&format!("{}/calls?outcome=busy%2Cno_answer", shown.console)).await;
        save("<b>not reached</b>").await;
        browser
            .open_live(&format!(
                "{}/calls?outcome=answered&older=1790000000000.507f1f77bcf86cd799439011",
                shown.console
            ))
            .await;
        save("answered").await;
        assert_eq!(names().await, json!(["<b>not reached</b>", "answered"]), "a name is no markup");
        browser.picture("views").await;
        assert_eq!(browser.serious_findings().await, Vec::<String>::new());
        browser.click("#views-list li:first-child a").await;
        browser.see("#results tbody a[href='/calls/CAbusy']").await;
        assert_eq!(browser.address().await, "/calls?outcome=busy%2Cno_answer");

        browser.click("#views summary").await;
        browser.read("#views .value", "2").await;
        browser.click("#views-list li:first-child button").await;
        browser.read("#views-note", "Removed: <b>not reached</b>").await;
        assert_eq!(names().await, json!(["answered"]));
        browser.click("#views-list a").await;
        browser.see("#results tbody a[href='/calls/CA00001']").await;
        assert_eq!(
            browser.address().await,
            "/calls?outcome=answered",
            "the position in the list is not kept"
        );

        let permission = json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] });
        browser.driver.cdp().send_raw("Browser.grantPermissions", permission).await.unwrap();
        browser
            .open_live(&format!(
                "{}/calls?outcome=busy&older=1790000000000.507f1f77bcf86cd799439011",
                shown.console
            ))
            .await;
        browser.click("#copy-link").await;
        browser.read("#copy-link", "Copied").await;
        let read = "navigator.clipboard.readText().then(arguments[0])";
        let copied = browser.driver.execute_async(read, vec![]).await.unwrap();
        assert_eq!(copied.json(), &json!(format!("{}/calls?outcome=busy", shown.console)));
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}
