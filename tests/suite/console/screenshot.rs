//! The picture of the console that `README.md` shows: `deploy/console.png`, the overview with the demo calls of
//! `cargo local up`.
//!
//! `AFTERCALL_WRITE_SCREENSHOT=1 cargo test --workspace --test suite console::screenshot` takes it anew. Without the
//! variable the test checks that the page still has the size of the picture.

use std::time::Duration;

use aftercall_local::simulator::demo::Campaign;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{browser::with_browser, start};
use crate::harness::until;

/// The picture in the repository.
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/console.png");
/// Width and height of the page in CSS pixels, which are the pixels of the picture.
const SIZE: (u32, u32) = (1280, 860);
/// Largest picture, in bytes: everybody who clones the repository downloads it.
const MAX_BYTES: usize = 200_000;

/// The demo calls of the last 24 hours and of the 24 hours before. The days decide ids and numbers of calls, so each
/// picture shows the same calls.
fn campaigns() -> [Campaign; 2] {
    let now = Timestamp::now();
    [("2026-11-28", 24), ("2026-11-29", 0)].map(|(day, hours)| Campaign {
        day: day.parse().unwrap(),
        until: now.checked_sub(SignedDuration::from_hours(hours)).unwrap(),
    })
}

/// Width and height that a PNG file states in its first chunk.
fn size_of(png: &[u8]) -> (u32, u32) {
    assert_eq!(png[..8], *b"\x89PNG\r\n\x1a\n", "a PNG file");
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[tokio::test]
async fn the_picture_in_the_readme_has_the_size_of_the_page() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        assert!(shown.stack.simulator.place_demo(&campaigns()).await > 150);
        shown.stack.all_acknowledged().await;
        // As `up` does: only the conversation names the batch of a call that was not connected.
        let reconcile = ["reconcile", "--since", "3d"];
        let (code, ..) = shown.stack.command(&reconcile, &[("RECONCILE_RATE", "100")]).await;
        assert_eq!(code, Some(0));
        shown.stack.all_acknowledged().await;

        browser.open(&shown.link()).await;
        let screen = json!({ "width": SIZE.0, "height": SIZE.1, "deviceScaleFactor": 1, "mobile": false });
        browser.driver.cdp().send_raw("Emulation.setDeviceMetricsOverride", screen).await.unwrap();
        browser.scheme("light").await;
        browser.open_live(&format!("{}/overview", shown.console)).await;
        for (agent, batch) in
            [("Reminders", "btcal_reminders_20261129"), ("Renewals", "btcal_renewals_20261129")]
        {
            browser.read("#page", agent).await;
            browser.read("#page", batch).await;
        }
        browser.read("#page", "Latest webhook").await; // From the first samples of the broker.
        let is_simulated = browser.eval("document.querySelector('.simulated').innerText").await;
        assert_eq!(is_simulated, "Simulated calls", "the page says that no telephone rang");

        let taken = browser.driver.screenshot_as_png().await.unwrap();
        if std::env::var_os("AFTERCALL_WRITE_SCREENSHOT").is_some_and(|value| value == "1") {
            std::fs::write(PICTURE, &taken).unwrap();
        }
        let kept = std::fs::read(PICTURE).unwrap();
        assert_eq!(size_of(&kept), size_of(&taken), "AFTERCALL_WRITE_SCREENSHOT=1 takes the picture anew");
        assert!(kept.len() <= MAX_BYTES, "{} bytes", kept.len());

        // The list of the same calls masks every number.
        browser.open_live(&format!("{}/calls", shown.console)).await;
        until("the list is shown", async || (browser.count("#results tbody tr").await > 20).then_some(()))
            .await;
        for area in [202, 212, 303, 312, 415, 512, 617, 702] {
            let number = format!("document.body.innerText.includes('+1{area}')");
            assert_eq!(browser.eval(&number).await, false, "telephone numbers are masked");
        }
    })
    .await;
}
