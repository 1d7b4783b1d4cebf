//! Requests that try to break the reading API.

use mongodb::bson::doc;
use reqwest::Method;
use serde_json::json;

use super::{CALLS, call, get, ids, page, send};
use crate::harness::TestStack;

#[tokio::test]
async fn wrong_parameters_are_refused_by_name() {
    let stack = TestStack::start().await;
    stack.calls.insert_many([call("c", 0, doc! {}), call("d", 1, doc! {})]).await.unwrap();
    let first = page(&stack, "status=ended&limit=1").await;
    let cursor = first["nextCursor"].as_str().unwrap().to_owned();
    let filters = format!("status=busy&cursor={cursor}");
    let cut = format!("status=ended&cursor={}", &cursor[..cursor.len() - 2]);
    let long = format!("agentId={}", "x".repeat(257));
    #[rustfmt::skip]
    let table = [
        ("statsu=busy",                  "did you mean \"status\"?"),
        ("tonumber=1",                   "did you mean \"toNumber\"?"),
        ("batchId=1",                    "did you mean \"batchCallId\"?"),
        ("page=2",                       "unknown parameter \"page\""),
        ("status[$ne]=busy",             "unknown parameter"),
        ("agentId[$gt]=",                "unknown parameter"),
        ("%24where=1",                   "unknown parameter"),
        ("metadata.%24ne=1",             "unknown parameter"),
        ("metadata=1",                   "unknown parameter"),
        ("status=sold",                  "status must be one or more of"),
        ("status={\"$ne\":\"busy\"}",    "status must be one or more of"),
        ("limit=201",                    "limit must be a whole number from 1 to 200"),
        ("limit=18446744073709551616",   "limit must be"),
        ("limit=1e2",                    "limit must be"),
        ("limit=10&limit=10",            "limit is given twice"),
        ("since=yesterday",              "since must be a time"),
        ("until=2026-13-01T00:00:00Z",   "until must be a time"),
        ("cursor=",                      "cursor must be a nextCursor"),
        ("cursor=%00%ff",                "cursor must be a nextCursor"),
        ("include=everything",           "include must be one or more of"),
        (&filters,                       "other filters"),
        (&cut,                           "cursor must be a nextCursor"),
        (&long,                          "agentId must be a text of 1 to 256 characters"),
    ];
    for (query, expected) in table {
        let answer = get(&stack, &format!("{CALLS}?{query}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{query}");
        assert!(answer.detail().contains(expected), "{query}: {}", answer.detail());
    }
    let endless = get(&stack, &format!("{CALLS}?agentId={}", "%41".repeat(9000))).await;
    assert_eq!((endless.status, endless.code().as_str()), (400, "invalid_request"));
    let rest = page(&stack, &format!("status=ended&cursor={cursor}")).await;
    assert_eq!(ids(&rest), ["c"], "the cursor itself is valid");
}

#[tokio::test]
async fn operators_as_values_are_only_texts() {
    let stack = TestStack::start().await;
    stack
        .calls
        .insert_one(call("c", 0, doc! { "agentId": "a", "toNumber": "+6580000001", "_metadata": ["k=v"] }))
        .await
        .unwrap();
    let values = [
        "$ne",
        "{\"$ne\":null}",
        "{\"$regex\":\".*\"}",
        ".*",
        "*",
        "null",
        "$where:true",
        "a'||'1'=='1",
        "é\u{202e}",
    ];
    for name in
        ["agentId", "toNumber", "fromNumber", "batchCallId", "campaignId", "failureReason", "metadata.k"]
    {
        for value in values {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
            assert_eq!(page(&stack, &query).await, json!({ "calls": [] }), "{query}");
        }
    }
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let stack = TestStack::start().await;
    for (method, path, status, allow) in [
        (Method::DELETE, CALLS, 405, "GET, HEAD, POST, OPTIONS"),
        (Method::PUT, "/api/agent-calls/c", 405, "GET, HEAD, OPTIONS"),
        (Method::POST, "/api/agent-calls/c", 405, "GET, HEAD, OPTIONS"),
        (Method::POST, "/api/agent-calls/c/audio", 405, "GET, HEAD, OPTIONS"),
        (Method::GET, "/api/agent-calls/status", 405, "POST, OPTIONS"),
        (Method::GET, "/api/agent-calls/c/other", 404, ""),
        (Method::GET, "/api/agent-calls/c/audio/x", 404, ""),
        (Method::GET, "/API/agent-calls", 404, ""),
    ] {
        let answer = send(&stack, method.clone(), path, &[]).await;
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{method} {path}");
    }
    for (path, allow) in [
        (CALLS, "GET, HEAD, POST, OPTIONS"),
        ("/api/agent-calls/c", "GET, HEAD, OPTIONS"),
        ("/api/agent-calls/status", "POST, OPTIONS"),
    ] {
        let answer = send(&stack, Method::OPTIONS, path, &[]).await;
        assert_eq!((answer.status, answer.header("allow")), (204, allow), "{path}");
    }
}
