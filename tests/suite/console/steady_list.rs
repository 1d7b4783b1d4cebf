//! The list of calls while somebody reads it: rows stay where they are, and the order is the server's.

use std::time::Duration;

use serde_json::{Value, json};
use thirtyfour::By;

use super::{ConsoleStack, browser::Browser, browser::with_browser, event, start};
use crate::harness::{recently, until, until_equal};

/// Webhooks of the test, and the time between two of them.
const WEBHOOKS: i64 = 300;
const PACE: Duration = Duration::from_millis(10);

/// Counts in `window.moved`, in every frame, the rows that are not where they were.
const WATCH: &str = "
    const tops = new Map([...document.querySelectorAll('#results tbody tr')].map((row) => [row.id, row.getBoundingClientRect().top]));
    window.moved = 0;
    const watch = () => {
      for (const [id, top] of tops) if (document.getElementById(id)?.getBoundingClientRect().top !== top) window.moved += 1;
      window.frames_seen = (window.frames_seen ?? 0) + 1;
      requestAnimationFrame(watch);
    };
    watch();";

/// Ids of the rows of the page that the server renders now, in their order.
async fn rendered(shown: &ConsoleStack) -> Vec<Value> {
    let (_, page) = shown.page("/calls").await;
    page.split("id=\"c-").skip(1).map(|row| format!("c-{}", &row[..24]).into()).collect()
}

async fn ids(browser: &Browser) -> Vec<Value> {
    let ids = browser.eval("[...document.querySelectorAll('#results tbody tr')].map((row) => row.id)").await;
    ids.as_array().unwrap().clone()
}

async fn point_at(browser: &Browser, selector: &str) {
    let element = browser.driver.find(By::Css(selector)).await.unwrap();
    browser.driver.action_chain().move_to_element_center(&element).perform().await.unwrap();
}

/// Whether nothing waits. The pill counts new calls, or says that the list has changed if a busy server asks the page
/// to load it again.
async fn is_pill_hidden(browser: &Browser) -> bool {
    browser.eval("document.querySelector('#pill').hidden").await == true
}

/// The webhook `n`: new calls, changes of the calls that are shown, and events that make a call older.
fn webhook(n: i64, now: i64) -> Value {
    match n % 3 {
        0 => event(&format!("CAnew{n}"), "initiated", now + n % 7),
        1 => event(&format!("CAold{}", n % 40), "ended", now),
        _ => event(&format!("CAold{}", n * 7 % 40), "ringing", now - 300 - n),
    }
}

#[tokio::test]
async fn no_row_moves_under_the_pointer_and_a_reload_shows_the_same_order() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        let now = recently();
        browser.open(&shown.link()).await;
        for n in 0..40 {
            shown.stack.webhook(&event(&format!("CAold{n}"), "ringing", now - n * 5)).await;
        }
        shown.stack.all_acknowledged().await;
        browser.open_live(&format!("{}/calls", shown.console)).await;
        until_equal("all calls are shown", 40, async || browser.count("#results tbody tr").await).await;

        point_at(browser, "#results tbody tr:nth-child(5) td.note").await;
        browser.driver.execute(WATCH, vec![]).await.unwrap();
        let mut pace = tokio::time::interval(PACE);
        for n in 0..WEBHOOKS {
            pace.tick().await;
            shown.stack.webhook(&webhook(n, now)).await;
        }
        shown.stack.all_acknowledged().await;
        assert!(browser.eval("window.frames_seen").await.as_i64().unwrap() > 20, "the page was watched");
        assert_eq!(browser.eval("window.moved").await, json!(0));
        browser.see("#results tbody tr.done").await; // Texts change where they are.
        browser.read("#pill", "new calls").await;
        assert_eq!(browser.eval("window.moved").await, json!(0));
        browser.read("#link", "Paused").await;

        point_at(browser, ".mark").await;
        browser.read("#link", "Live").await;
        until_equal("the order of the server", rendered(&shown).await, async || ids(browser).await).await;
        browser.open_live(&format!("{}/calls", shown.console)).await;
        assert_eq!(ids(browser).await, rendered(&shown).await);
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn new_calls_wait_while_a_row_has_the_focus_or_the_list_is_scrolled() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        let now = recently();
        browser.open(&shown.link()).await;
        for n in 0..50 {
            shown.stack.webhook(&event(&format!("CAold{n}"), "ringing", now - n * 5)).await;
        }
        shown.stack.all_acknowledged().await;
        browser.open_live(&format!("{}/calls", shown.console)).await;
        let first = ids(browser).await;

        browser.driver.execute("document.querySelector('#results tbody a').focus()", vec![]).await.unwrap();
        shown.stack.webhook(&event("CAfocus", "ringing", now + 1)).await;
        until_equal("the pill is hidden", false, async || is_pill_hidden(browser).await).await;
        assert_eq!(ids(browser).await, first);
        browser.click("#pill").await;
        point_at(browser, ".mark").await; // Where the pill was, the pointer may be over the list.
        browser.see("#results tbody tr:first-child a[href='/calls/CAfocus']").await;
        until_equal("the pill is hidden", true, async || is_pill_hidden(browser).await).await;

        let second = ids(browser).await;
        browser.driver.execute("scrollTo(0, 600)", vec![]).await.unwrap();
        until("the list is scrolled", async || (browser.eval("scrollY > 300").await == true).then_some(()))
            .await;
        shown.stack.webhook(&event("CAscroll", "ringing", now + 2)).await;
        until_equal("the pill is hidden", false, async || is_pill_hidden(browser).await).await;
        assert_eq!(ids(browser).await, second);
        browser.driver.execute("scrollTo(0, 0)", vec![]).await.unwrap();
        browser.see("#results tbody tr:first-child a[href='/calls/CAscroll']").await;
        browser.read("#link", "Live").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn times_are_local_and_an_id_is_copied() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        browser.open(&shown.link()).await;
        let zone = json!({ "timezoneId": "Asia/Kolkata" });
        browser.driver.cdp().send_raw("Emulation.setTimezoneOverride", zone).await.unwrap();
        let at = recently();
        shown.stack.webhook(&event("CAtime", "busy", at)).await;
        shown.stack.all_acknowledged().await;
        browser.open_live(&format!("{}/calls", shown.console)).await;
        let utc = jiff::Timestamp::from_second(at).unwrap();
        let local = utc
            .to_zoned(jiff::tz::Offset::constant(0).to_time_zone())
            .checked_add(jiff::Span::new().minutes(330));
        let local = local.unwrap().strftime("%-d %b %H:%M:%S").to_string();
        browser.read("#results tbody td.time", &local).await;
        browser.read("#results thead", "GMT+5:30").await;
        let title = browser.see("#results tbody time").await.attr("title").await.unwrap().unwrap();
        assert_eq!(title, utc.strftime("%-d %b %Y, %H:%M:%S UTC").to_string());
        // A row that arrives later is written in the same way.
        shown.stack.webhook(&event("CAlate", "busy", at + 1)).await;
        browser.see("#results tbody a[href='/calls/CAlate']").await;
        browser.read("#results tbody tr:first-child td.time", &local[..local.len() - 3]).await;

        let permission = json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] });
        browser.driver.cdp().send_raw("Browser.grantPermissions", permission).await.unwrap();
        browser.click("#results tbody tr:last-child .copy").await;
        browser.see(".copy[data-copied]").await;
        assert_eq!(browser.address().await, "/calls", "the row was not opened");
    })
    .await;
}
