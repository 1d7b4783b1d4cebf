//! The description of the public listener: it is that of the code, and the gateway behaves as it says.

mod clients;
mod conformance;

use aftercall_openapi::document;

use crate::harness::TestStack;

/// The file that the gateway serves.
const FILE: &str = include_str!("../../../deploy/openapi.json");

#[test]
fn file_is_what_the_code_describes() {
    let described = document().to_pretty_json().unwrap();
    assert!(FILE.trim_end() == described, "run: cargo openapi > deploy/openapi.json");
}

#[tokio::test]
async fn gateway_serves_the_file_without_a_token() {
    let stack = TestStack::builder().without_worker().gateway_env("API_ANONYMOUS", "none").start().await;
    let url = format!("{}/openapi.json", stack.base);
    let answer = stack.http.get(&url).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.text().await.unwrap(), FILE);
    let head = stack.http.head(&url).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], FILE.len().to_string());
    assert_eq!(stack.http.post(&url).send().await.unwrap().status(), 405);
}
