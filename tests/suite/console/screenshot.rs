//! The picture of the console that `README.md` shows: `deploy/console.png`.
//!
//! `AFTERCALL_WRITE_SCREENSHOT=1 cargo test --workspace --test suite console::screenshot` takes it anew. Without the
//! variable the test checks that the page still has the size of the picture.

use std::time::Duration;

use serde_json::{Value, json};

use super::{browser::with_browser, start};

/// The picture in the repository.
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/console.png");
/// Width and height of the page in CSS pixels, which are the pixels of the picture.
const SIZE: (u32, u32) = (1280, 740);
/// Largest picture, in bytes: everybody who clones the repository downloads it.
const MAX_BYTES: usize = 200_000;

/// How an invented call went.
enum Outcome {
    /// The words of one event in the flat form, in order.
    Steps(&'static [&'static str]),
    /// ElevenLabs reports the conversation: seconds spoken.
    Conversation(u64),
    /// ElevenLabs reports that the call never connected: the reason.
    NotConnected(&'static str),
}

/// Invented calls: minutes ago, the last digits of the number, how the call went.
const CALLS: [(i64, &str, Outcome); 12] = [
    (1, "0142", Outcome::Steps(&["initiated"])),
    (2, "0117", Outcome::Steps(&["initiated", "ringing"])),
    (3, "0188", Outcome::Steps(&["initiated", "ringing", "answered"])),
    (6, "0123", Outcome::Conversation(61)),
    (9, "0171", Outcome::NotConnected("busy")),
    (14, "0106", Outcome::Conversation(214)),
    (21, "0139", Outcome::Steps(&["initiated", "ringing", "no_answer"])),
    (27, "0165", Outcome::Conversation(98)),
    (38, "0150", Outcome::Steps(&["initiated", "rejected"])),
    (52, "0194", Outcome::Conversation(147)),
    (61, "0128", Outcome::Steps(&["initiated", "ringing", "busy"])),
    (74, "0133", Outcome::Conversation(35)),
];

/// The webhooks of one call.
fn webhooks(n: u64, began: i64, digits: &str, outcome: &Outcome) -> Vec<Value> {
    let half = |factor: u64| factor.wrapping_mul(n + 1);
    let call = format!("CA{:016x}{:016x}", half(0x9e37_79b9_7f4a_7c15), half(0xc2b2_ae3d_27d4_eb4f));
    let number = format!("+1202555{digits}");
    let conversation = format!("conv_{}", &call[2..28]);
    match outcome {
        Outcome::Steps(words) => (0..)
            .zip(*words)
            .map(|(step, word)| {
                json!({
                    "event_type": format!("call.{word}"), "call_id": call, "to_number": number,
                    "timestamp": began + step * 4,
                })
            })
            .collect(),
        Outcome::Conversation(seconds) => vec![json!({
            "type": "post_call_transcription", "event_timestamp": began + i64::try_from(*seconds).unwrap() + 12,
            "data": {
                "agent_id": "agent_reminder", "conversation_id": conversation, "status": "done",
                "transcript": [
                    { "role": "agent", "message": "Good morning, this is the clinic.", "time_in_call_secs": 0 },
                    { "role": "user", "message": "Good morning.", "time_in_call_secs": 3 },
                ],
                "metadata": {
                    "start_time_unix_secs": began, "call_duration_secs": seconds,
                    "phone_call": { "type": "twilio", "direction": "outbound", "call_sid": call, "external_number": number },
                },
                "analysis": { "call_successful": "success", "transcript_summary": "The patient confirmed." },
            },
        })],
        Outcome::NotConnected(reason) => vec![json!({
            "type": "call_initiation_failure", "event_timestamp": began + 20,
            "data": {
                "agent_id": "agent_reminder", "conversation_id": conversation, "failure_reason": reason,
                "metadata": { "type": "twilio", "body": { "CallSid": call, "CallStatus": reason, "To": number } },
            },
        })],
    }
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
        let now = jiff::Timestamp::now().as_second();
        for (n, (minutes, digits, outcome)) in (0..).zip(&CALLS) {
            for webhook in webhooks(n, now - minutes * 60, digits, outcome) {
                shown.stack.webhook(&webhook).await;
            }
        }
        shown.stack.all_acknowledged().await;
        browser.open(&shown.link()).await;
        let screen = json!({ "width": SIZE.0, "height": SIZE.1, "deviceScaleFactor": 1, "mobile": false });
        browser.driver.cdp().send_raw("Emulation.setDeviceMetricsOverride", screen).await.unwrap();
        browser.scheme("light").await;
        browser.open_live(&format!("{}/calls", shown.console)).await;
        assert_eq!(browser.count("#results tbody tr").await, CALLS.len());
        assert_eq!(
            browser.eval("document.body.innerText.includes('+1202')").await,
            false,
            "telephone numbers are masked"
        );

        let taken = browser.driver.screenshot_as_png().await.unwrap();
        if std::env::var_os("AFTERCALL_WRITE_SCREENSHOT").is_some_and(|value| value == "1") {
            std::fs::write(PICTURE, &taken).unwrap();
        }
        let kept = std::fs::read(PICTURE).unwrap();
        assert_eq!(size_of(&kept), size_of(&taken), "AFTERCALL_WRITE_SCREENSHOT=1 takes the picture anew");
        assert!(kept.len() <= MAX_BYTES, "{} bytes", kept.len());
    })
    .await;
}
