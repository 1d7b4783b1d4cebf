//! The console while broker or database are unavailable.

use std::time::{Duration, Instant};

use super::{ConsoleStack, browser::with_browser, event, setup};
use crate::harness::{Service, recently, until};

#[tokio::test]
async fn console_names_the_unavailable_server_and_recovers() {
    with_browser(async |browser| {
        let (setup, console) = setup();
        let mut shown = ConsoleStack { stack: setup.own_mongod().start().await, console };
        shown.stack.webhook(&event("CAbefore", "busy", recently())).await;
        browser.open(&shown.link()).await;
        browser.open_live(&format!("{}/calls", shown.console)).await;
        browser.see("#results tbody a[href='/calls/CAbefore']").await;

        // A frozen database refuses no connection, so that every request waits for its time limit.
        shown.stack.mongo.process().freeze().unwrap();
        browser.see("#away-mongodb").await;
        browser.read("#link", "Outage").await;
        browser.see("#results tbody a[href='/calls/CAbefore']").await;
        let asked = Instant::now();
        let (status, page) = shown.page("/calls").await;
        assert_eq!(status, 503);
        assert!(page.contains("MongoDB does not answer"), "{page}");
        assert!(
            asked.elapsed() < Duration::from_secs(1),
            "the console waits for a database that it knows to be unavailable: {:?}",
            asked.elapsed()
        );
        assert_eq!(shown.page("/calls/CAbefore").await.0, 503);
        assert_eq!(shown.page("/overview").await.0, 200);
        shown.stack.mongo.process().thaw().unwrap();
        let hidden = async || {
            (browser.eval("document.querySelector('#away-mongodb').hidden").await == true).then_some(())
        };
        until("the notice disappears", hidden).await;
        shown.stack.webhook(&event("CAafter", "busy", recently() + 100)).await;
        browser.see("#results tbody tr:first-child a[href='/calls/CAafter']").await;

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
        until("the notice disappears", hidden).await;
    })
    .await;
}

#[tokio::test]
async fn console_starts_without_a_database() {
    let (setup, console) = setup();
    let mut shown = ConsoleStack { stack: setup.own_mongod().without_worker().start().await, console };
    shown.stack.mongo.process().kill().await.unwrap();
    let command = shown.stack.worker_command();
    let mut worker = Service::start(command.0, command.1).await;
    let page = async || {
        let answer = shown.get("/calls").send().await.ok()?;
        let status = answer.status().as_u16();
        answer
            .text()
            .await
            .ok()
            .filter(|page| status == 503 && page.contains("notice\" id=\"away-mongodb\">"))
    };
    until("the console reports that MongoDB is unavailable", page).await;
    shown.stack.mongo.process().restart().await.unwrap();
    worker.until_ready(&shown.stack.http).await;
    until("calls can be listed", async || (shown.page("/calls").await.0 == 200).then_some(())).await;
}
