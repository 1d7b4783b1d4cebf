//! The console while what is behind it is away.

use std::time::{Duration, Instant};

use super::{Shown, browser::with_browser, event, setup};
use crate::harness::{recently, until};

#[tokio::test]
async fn it_says_what_is_away_and_comes_back_by_itself() {
    with_browser(async |browser| {
        let (setup, console) = setup();
        let mut shown = Shown { stack: setup.own_mongod().start().await, console };
        shown.stack.webhook(&event("CAbefore", "busy", recently())).await;
        browser.open(&shown.link()).await;
        browser.open_live(&format!("{}/calls", shown.console)).await;
        browser.read("#results tbody", "CAbefore").await;

        // Silent, which is worse than gone: nothing refuses.
        shown.stack.mongo.process().freeze().unwrap();
        browser.see("#away-mongodb").await;
        browser.read("#results tbody", "CAbefore").await;
        let asked = Instant::now();
        let (status, page) = shown.page("/calls").await;
        assert_eq!(status, 503);
        assert!(page.contains("MongoDB does not answer"), "{page}");
        assert!(asked.elapsed() < Duration::from_secs(1), "known to be away: {:?}", asked.elapsed());
        assert_eq!(shown.page("/calls/CAbefore").await.0, 503);
        assert_eq!(shown.page("/overview").await.0, 200);
        shown.stack.mongo.process().thaw().unwrap();
        let hidden = async || {
            (browser.eval("document.querySelector('#away-mongodb').hidden").await == true).then_some(())
        };
        until("the notice goes", hidden).await;
        shown.stack.webhook(&event("CAafter", "busy", recently() + 100)).await;
        browser.read("#results tbody tr:first-child", "CAafter").await;

        shown.stack.nats.kill().await.unwrap();
        browser.see("#away-nats").await;
        let (status, page) = shown.page("/dead-letters").await;
        assert_eq!(status, 503);
        assert!(page.contains("NATS does not answer"), "{page}");
        browser.open(&format!("{}/dead-letters", shown.console)).await;
        browser.read("h1", "Temporarily unavailable").await;
        shown.stack.nats.restart().await.unwrap();
        browser.read("h1", "Dead letters").await;
        shown.stack.mongo.process().kill().await.unwrap();
        browser.see("#away-mongodb").await;
        shown.stack.mongo.process().restart().await.unwrap();
        until("the notice goes", hidden).await;
    })
    .await;
}

#[tokio::test]
async fn it_starts_before_what_it_shows() {
    let (setup, console) = setup();
    let mut shown = Shown { stack: setup.own_mongod().without_worker().start().await, console };
    shown.stack.mongo.process().kill().await.unwrap();
    let command = shown.stack.worker_command();
    let mut worker = crate::harness::Service::start(command.0, command.1).await;
    let page = async || {
        let answer = shown.get("/calls").send().await.ok()?;
        let status = answer.status().as_u16();
        answer
            .text()
            .await
            .ok()
            .filter(|page| status == 503 && page.contains("notice\" id=\"away-mongodb\">"))
    };
    until("the console says that MongoDB is away", page).await;
    shown.stack.mongo.process().restart().await.unwrap();
    worker.until_ready(&shown.stack.http).await;
    until("calls can be listed", async || (shown.page("/calls").await.0 == 200).then_some(())).await;
}
