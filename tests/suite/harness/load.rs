//! Load on the gateway, and the check that no accepted webhook is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use aftercall_common::contract::streams;
use futures_util::future::join_all;
use mongodb::bson::doc;
use serde_json::json;

use super::{
    requests::CALL_STATUS,
    stack::TestStack,
    timeouts::{scaled, until, until_equal},
};

/// Clients that post distinct webhooks and count the accepted ones.
#[derive(Clone)]
pub struct Load {
    http: reqwest::Client,
    base: String,
    accepted: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Load on the gateway of `stack`.
    pub fn on(stack: &TestStack) -> Self {
        let (http, base) = (stack.http.clone(), stack.base.clone());
        Self { http, base, accepted: Arc::default(), stop: Arc::default() }
    }

    /// Posts webhooks until [`Self::stop`] is called. Returns the call ids of the accepted webhooks.
    pub async fn run(&self) -> Vec<String> {
        join_all((0..16).map(|client| self.client(client))).await.concat()
    }

    async fn client(&self, client: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for n in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let id = format!("c-{client}-{n}");
            let body = json!({ "event_type": "call.busy", "call_id": id }).to_string();
            let request = self.http.post(format!("{}{CALL_STATUS}", self.base)).body(body);
            match request.timeout(scaled(Duration::from_secs(10))).send().await {
                Ok(answer) if answer.status() == 200 => {
                    ids.push(id);
                    self.accepted.fetch_add(1, Ordering::Relaxed);
                }
                // The webhook was refused, or the connection broke: the client waits before the next webhook.
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        ids
    }

    /// Waits until `n` further webhooks are accepted.
    pub async fn more(&self, n: usize) {
        let goal = self.accepted.load(Ordering::Relaxed) + n;
        until(&format!("{n} more webhooks accepted"), async || {
            (self.accepted.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// Ends [`Self::run`].
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Checks that every accepted call has its document, that all webhooks are acknowledged, and that there is no
/// dead letter.
pub async fn nothing_lost(stack: &TestStack, accepted: &[String]) {
    for ids in accepted.chunks(1000) {
        let stored = async || stack.count(doc! { "callId": { "$in": ids }, "status": "busy" }).await;
        // The documents are waited for, because a broker that lags behind the others reports 0 pending
        // messages too early.
        until_equal("documents of accepted webhooks", ids.len() as u64, stored).await;
    }
    stack.all_acknowledged().await;
    assert_eq!(stack.stored(streams::DEAD_LETTERS).await, 0);
}
