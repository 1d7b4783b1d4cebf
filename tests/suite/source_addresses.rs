//! Allowed source addresses, behind trusted proxies and without them.

use reqwest::header::HeaderMap;
use serde_json::json;

use crate::harness::{CALL_STATUS, TestStack};

#[tokio::test]
async fn forwarded_addresses_count_only_from_trusted_proxies() {
    const ELEVENLABS: &str = "34.67.146.145";
    #[rustfmt::skip]
    let table = [ // trusted proxies, X-Forwarded-For lines, status
        // The peer is on this machine and is not a proxy. It may send, but not forward.
        ("",                       vec![],                                   200),
        ("",                       vec!["203.0.113.9"],                      403),
        ("",                       vec![ELEVENLABS],                         403),
        // A request through a trusted proxy on this machine is not from this machine.
        ("127.0.0.1",              vec![],                                   403),
        ("127.0.0.1",              vec!["127.0.0.1"],                        403),
        // Behind a proxy, the rightmost address that is not a proxy counts.
        ("127.0.0.1",              vec![ELEVENLABS],                         200),
        ("127.0.0.1",              vec!["203.0.113.9"],                      403),
        ("127.0.0.1",              vec!["34.67.146.145, 203.0.113.9"],       403),
        ("127.0.0.1",              vec!["203.0.113.9, 34.67.146.145"],       200),
        ("127.0.0.1",              vec![ELEVENLABS, "203.0.113.9"],          403),
        ("127.0.0.1",              vec!["203.0.113.9", ELEVENLABS],          200),
        ("127.0.0.1, 10.0.0.0/8",  vec!["34.67.146.145, 10.1.2.3"],          200),
        ("127.0.0.1, 10.0.0.0/8",  vec!["203.0.113.9, 10.1.2.3, 10.9.9.9"],  403),
        // An IPv4-mapped IPv6 address counts as IPv4.
        ("127.0.0.1",              vec!["::ffff:34.67.146.145"],             200),
        ("127.0.0.1",              vec!["::ffff:203.0.113.9"],               403),
        // A hop that is not an address ends the search.
        ("127.0.0.1",              vec!["34.67.146.145, unknown"],           403),
        // Gateways of Azure append the port.
        ("127.0.0.1",              vec!["34.67.146.145:51008"],              200),
        ("127.0.0.1",              vec!["[::ffff:34.67.146.145]:443"],       200),
        ("127.0.0.1",              vec!["203.0.113.9:443"],                  403),
    ];
    let mut proxies: Vec<&str> = table.iter().map(|row| row.0).collect();
    proxies.dedup();
    for trusted in proxies {
        let stack =
            TestStack::builder().without_worker().gateway_env("TRUSTED_PROXIES", trusted).start().await;
        for (_, lines, status) in table.iter().filter(|row| row.0 == trusted) {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            let body = json!({ "event_type": "call.busy", "call_id": lines }).to_string();
            let request = stack.http.post(format!("{}{CALL_STATUS}", stack.base)).headers(headers).body(body);
            let answer = stack.send(request).await;
            assert_eq!(answer.status, *status, "proxies {trusted:?}, lines {lines:?}: {}", answer.body);
            if *status == 403 {
                let code = match (trusted, lines.iter().any(|line| line.contains("unknown"))) {
                    ("", _) => "untrusted_proxy",
                    (_, true) => "forwarded_for_unreadable",
                    (_, false) => "source_not_allowed",
                };
                assert_eq!(answer.code(), code, "proxies {trusted:?}, lines {lines:?}");
            }
        }
    }
}
