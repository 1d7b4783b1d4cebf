//! Addresses: without `DELIVER_TO_PRIVATE_NETWORKS`, no request reaches a private network.

use serde_json::json;

use super::{Answer, Receiver, add, publish, stack, until_delivery};
use crate::harness::{TestStack, until_equal};

#[tokio::test]
async fn private_addresses_and_plain_http_are_refused_when_an_endpoint_is_added() {
    let stack = TestStack::builder().worker_env("ROLES", "deliver").start().await;
    for (url, reason) in [
        ("http://example.com/hook", "must begin with https://"),
        ("https://127.0.0.1/hook", "private address"),
        ("https://[::ffff:169.254.169.254]/", "private address"),
        ("https://0x7f.1/", "private address"),
        ("https://me:pa55@example.com/", "no user name and no password"),
        ("ftp://example.com", "must begin with https://"),
    ] {
        let (code, said, stderr) = stack.command(&["endpoints", "add", url], &[]).await;
        assert!(code.is_some_and(|code| code != 0) && stderr.contains(reason), "{url}: {said}{stderr}");
    }
    let (code, said, _) = stack.command(&["endpoints", "list", "--json"], &[]).await;
    assert_eq!((code, said.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_not_connected_to() {
    let stack = TestStack::builder().worker_env("ROLES", "deliver").start().await;
    let receiver = Receiver::accepting().await;
    // A name is accepted when the endpoint is added, because it may lead elsewhere later.
    let url = format!("https://localhost:{}/hook", receiver.address.port());
    let (endpoint, _) = add(&stack, &url, &[]).await;
    let id = publish(&stack, "call.status", "CA1", 1, json!({})).await;
    let record = until_delivery(&stack, &endpoint, &id, |record| record["state"] == "waiting").await;
    assert_eq!(record["attempts"][0]["error"], "private_address");
    // The command that tests an endpoint has the same rule.
    let (code, said, stderr) = stack.command(&["endpoints", "test", &endpoint], &[]).await;
    assert!(code == Some(1) && said.contains("private_address"), "{said}{stderr}");
    assert_eq!(receiver.received().len(), 0);
}

#[tokio::test]
async fn an_endpoint_of_a_private_network_is_refused_once_the_setting_is_gone() {
    let mut stack = stack().await;
    let receiver = Receiver::accepting().await;
    let (endpoint, _) = add(&stack, &receiver.url("/"), &[]).await;
    publish(&stack, "call.status", "CA1", 1, json!({})).await;
    until_equal("requests", 1, async || receiver.received().len()).await;
    stack.workers[0].kill().await;
    stack.worker_env("DELIVER_TO_PRIVATE_NETWORKS", "false");
    stack.add_worker().await;
    let id = publish(&stack, "call.status", "CA2", 1, json!({})).await;
    let record = until_delivery(&stack, &endpoint, &id, |_| true).await;
    assert_eq!(record["attempts"][0]["error"], "private_address");
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let stack = stack().await;
    let target = Receiver::accepting().await;
    let location = target.url("/admin");
    let receiver = Receiver::start(move |_| Answer::status(307).with("location", &location)).await;
    let (endpoint, _) = add(&stack, &receiver.url("/"), &[]).await;
    let id = publish(&stack, "call.status", "CA1", 1, json!({})).await;
    let record = until_delivery(&stack, &endpoint, &id, |_| true).await;
    assert_eq!((&record["state"], &record["attempts"][0]["status"]), (&json!("waiting"), &json!(307)));
    assert_eq!(target.received().len(), 0);
}
