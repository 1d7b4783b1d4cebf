//! People who look on: what they cost, and when they see what has happened.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
};

use super::{PATIENCE, Stack, Timed};

/// Webhooks whose way to the screen is timed.
const TIMED: usize = 60;
/// Webhooks per second beside them.
pub const BESIDE: u64 = 20;

/// What viewers cost and see.
pub struct Watched {
    /// MiB that the worker held without viewers, with them, and with webhooks beside.
    pub before: f64,
    pub idle: f64,
    pub busy: f64,
    /// From the webhook to the screen.
    pub times: Timed,
}

pub async fn viewers(stack: &Stack, count: usize) -> anyhow::Result<Watched> {
    // As a worker is that has shown some pages already.
    let before = stack.resident()?;
    let (seen, mut news) = watch::channel(String::new());
    let mut looking = JoinSet::new();
    for n in 0..count {
        let cookie = stack.session().await?;
        let mut socket = TcpStream::connect(stack.console.trim_start_matches("http://")).await?;
        let path =
            ["/events?topic=calls", "/events?topic=calls&status=busy", "/events?topic=calls&period=24h"]
                [n % 3];
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n");
        socket.write_all(request.as_bytes()).await?;
        // One of them reads what it gets, the others get it.
        let seen = (n == 0).then(|| seen.clone());
        looking.spawn(async move {
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
    tokio::time::timeout(PATIENCE, news.wait_for(|text| text.contains("health"))).await??;
    // Every connection is open once the last has been greeted; the watch has begun by then.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let idle = stack.resident()?;

    let (http, url) = (stack.http.clone(), stack.webhooks.clone());
    looking.spawn(async move {
        for n in 0_u64.. {
            // Only for its weight.
            let _sent = post(&http, &url, &format!("CAbeside{n}"), "ringing").await;
            tokio::time::sleep(Duration::from_millis(1000 / BESIDE)).await;
        }
    });
    let (mut times, mut busy) = (Vec::with_capacity(TIMED), idle);
    for n in 0..TIMED {
        let call = format!("CAtimed{n:04}");
        let begun = Instant::now();
        post(&stack.http, &stack.webhooks, &call, "busy").await?;
        let shown = news.wait_for(|text| text.contains(&call));
        tokio::time::timeout(Duration::from_mins(1), shown).await.context("never on a screen")??;
        times.push(begun.elapsed());
        busy = busy.max(stack.resident()?);
    }
    looking.abort_all();
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
