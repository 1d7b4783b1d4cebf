//! The reading API: lists, one call, turns and recordings.

mod access;
mod content;
mod hostile;
mod indexes;
mod list;
mod one;

use mongodb::bson::{Bson, DateTime, Document, doc, oid::ObjectId};
use reqwest::{Method, header::HeaderMap};
use serde_json::Value;

use crate::harness::TestStack;

/// The path of the list.
const CALLS: &str = "/api/agent-calls";
/// Time of the call number 0, in milliseconds.
const FIRST: i64 = 1_790_000_000_000;

/// A response with its headers.
struct Read {
    status: u16,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Read {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap_or_default().to_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

/// Sends a request without a body to `path`, which may have a query.
async fn send(stack: &TestStack, method: Method, path: &str, headers: &[(&str, &str)]) -> Read {
    let request = stack.http.request(method, format!("{}{path}", stack.base));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Read { status, headers, bytes: answer.bytes().await.unwrap().to_vec() }
}

async fn get(stack: &TestStack, path: &str) -> Read {
    send(stack, Method::GET, path, &[]).await
}

/// The page at `query`. Panics unless it is answered.
async fn page(stack: &TestStack, query: &str) -> Value {
    let answer = get(stack, &format!("{CALLS}?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.json());
    answer.json()
}

/// The call ids of a page.
fn ids(page: &Value) -> Vec<String> {
    let calls = page["calls"].as_array().unwrap();
    calls.iter().map(|call| call["callId"].as_str().unwrap().to_owned()).collect()
}

/// The document of a call that was created `at` milliseconds after [`FIRST`], with these further fields.
fn call(id: &str, at: i64, fields: Document) -> Document {
    let date = DateTime::from_millis(FIRST + at);
    let mut call = doc! {
        "_id": ObjectId::new(), "callId": id, "status": "ended", "history": [], "revision": FIRST + at,
        "createdAt": date, "statusUpdatedAt": date, "updatedAt": date, "_storedAt": date,
    };
    for (name, value) in fields {
        match value {
            Bson::Null => drop(call.remove(name)),
            value => drop(call.insert(name, value)),
        }
    }
    call
}
