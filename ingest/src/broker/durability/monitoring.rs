//! Reads the sync policy of the broker's servers from their monitoring endpoints (`/jsz`). The NATS protocol
//! does not show this setting to clients.

use std::time::Duration;

use aftercall_common::http::client::{self, Bounds};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode, Uri};
use serde::Deserialize;

use super::grade::{self, SyncPolicy};
use crate::config::MonitorUrls;

const BOUNDS: Bounds = Bounds { time: Duration::from_secs(3), bytes: 256 * 1024 };

/// The laxest policy of all servers. `None` if no URL is set or a server does not report its policy.
pub(super) async fn sync_policy(monitors: &MonitorUrls) -> Option<SyncPolicy> {
    let mut reported = Vec::new();
    for url in monitors.iter() {
        reported.push(sync_policy_of(url).await);
    }
    grade::laxest(&reported)
}

async fn sync_policy_of(url: &Uri) -> Option<SyncPolicy> {
    let request = Request::get(format!("{}/jsz", url.to_string().trim_end_matches('/')));
    let request = request.body(Full::<Bytes>::default()).ok()?;
    match client::send(request, BOUNDS).await {
        Ok(answer) if answer.status() == StatusCode::OK => parse(answer.body()),
        Ok(answer) => {
            let status = answer.status().as_u16();
            tracing::warn!(%url, status, "NATS_MONITOR_URL is not the monitoring endpoint of a NATS server");
            None
        }
        Err(error) => {
            tracing::warn!(%url, %error, "NATS_MONITOR_URL does not answer");
            None
        }
    }
}

/// The policy in the answer of `/jsz`. `None` if the answer does not hold it.
fn parse(answer: &[u8]) -> Option<SyncPolicy> {
    #[derive(Deserialize)]
    struct Answer {
        config: Config,
    }
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        sync_always: bool,
        /// In nanoseconds.
        sync_interval: u64,
    }
    let Answer { config } = serde_json::from_slice(answer).ok()?;
    Some(if config.sync_always {
        SyncPolicy::Always
    } else {
        SyncPolicy::Interval(Duration::from_nanos(config.sync_interval))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_read_from_the_answers_of_a_real_server() {
        let interval = Some(SyncPolicy::Interval(Duration::from_mins(2)));
        // The first two are answers of nats-server 2.15.1, shortened. It reports the interval even if it
        // syncs always.
        #[rustfmt::skip]
        let table = [
            (r#"{"memory":0,"config":{"store_dir":"/x","sync_interval":120000000000,"sync_always":true,"strict":true}}"#, Some(SyncPolicy::Always)),
            (r#"{"memory":0,"config":{"store_dir":"/x","sync_interval":120000000000,"strict":true}}"#, interval),
            (r#"{"disabled":true}"#, None),
            ("<html>", None),
        ];
        for (answer, expected) in table {
            assert_eq!(parse(answer.as_bytes()), expected, "{answer}");
        }
    }
}
