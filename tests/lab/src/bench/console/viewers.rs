//! Live viewers of the console: their memory, and the time from a webhook to their screens.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
};

use super::{pages::Timed, setup::ConsoleSetup};

/// Longest wait for the first message to a viewer.
const TIMEOUT: Duration = Duration::from_mins(10);
/// Number of webhooks that are timed.
const TIMED: usize = 60;
/// Rate of further webhooks meanwhile.
pub const WEBHOOKS_PER_SECOND: u64 = 20;

/// Memory of the viewers, and times to their screens.
pub struct Watched {
    /// Memory of the worker without viewers, in MiB.
    pub before: f64,
    /// Memory with viewers and without webhooks, in MiB.
    pub idle: f64,
    /// Largest memory with viewers and webhooks, in MiB.
    pub busy: f64,
    /// Times from a webhook to the screen.
    pub times: Timed,
}

/// Connects `count` viewers and measures.
pub async fn viewers(setup: &ConsoleSetup, count: usize) -> anyhow::Result<Watched> {
    // The worker has served pages before, so its caches are warm.
    let before = setup.resident()?;
    let (seen, mut news) = watch::channel(String::new());
    let mut tasks = JoinSet::new();
    for n in 0..count {
        let cookie = setup.session().await?;
        let mut socket = TcpStream::connect(setup.console.trim_start_matches("http://")).await?;
        let path =
            ["/events?topic=calls", "/events?topic=calls&status=busy", "/events?topic=calls&period=24h"]
                [n % 3];
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n");
        socket.write_all(request.as_bytes()).await?;
        // Only the first viewer keeps the text that it receives.
        let seen = (n == 0).then(|| seen.clone());
        tasks.spawn(async move {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(read @ 1..) = socket.read(&mut buffer).await {
                if let Some(seen) = &seen {
                    seen.send_modify(|text| {
                        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
                        let most = text.len().saturating_sub(256 * 1024);
                        *text = text.split_off(text.ceil_char_boundary(most));
                    });
                }
            }
        });
    }
    tokio::time::timeout(TIMEOUT, news.wait_for(|text| text.contains("health"))).await??;
    // The first viewer is connected. The others and the change stream get three seconds.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let idle = setup.resident()?;

    let (http, url) = (setup.http.clone(), setup.webhooks.clone());
    tasks.spawn(async move {
        for n in 0_u64.. {
            // These webhooks are only load.
            let _sent = post(&http, &url, &format!("CAbeside{n}"), "ringing").await;
            tokio::time::sleep(Duration::from_millis(1000 / WEBHOOKS_PER_SECOND)).await;
        }
    });
    let (mut times, mut busy) = (Vec::with_capacity(TIMED), idle);
    for n in 0..TIMED {
        let call = format!("CAtimed{n:04}");
        let begun = Instant::now();
        post(&setup.http, &setup.webhooks, &call, "busy").await?;
        let shown = news.wait_for(|text| text.contains(&call));
        tokio::time::timeout(Duration::from_mins(1), shown).await.context("no update within a minute")??;
        times.push(begun.elapsed());
        busy = busy.max(setup.resident()?);
    }
    tasks.abort_all();
    times.sort_unstable();
    Ok(Watched {
        before,
        idle,
        busy,
        times: Timed { name: "from the webhook to the screen".to_owned(), times },
    })
}

async fn post(http: &reqwest::Client, url: &str, call: &str, status: &str) -> anyhow::Result<()> {
    let body = json!({ "event_type": format!("call.{status}"), "call_id": call });
    let answer =
        http.post(url).header("content-type", "application/json").body(body.to_string()).send().await?;
    ensure!(answer.status().is_success(), "a webhook was answered {}", answer.status());
    Ok(())
}
