//! Checks at the start and every hour whether the webhook at ElevenLabs still works.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::{
    Context,
    domain::time::between,
    elevenlabs::{
        ElevenLabs, Scope, Webhook,
        webhook_plan::{self, EVENTS},
    },
};

/// Interval between two checks.
const INTERVAL: Duration = Duration::from_hours(1);
/// Delay after a check that failed.
const RETRY_DELAY: Duration = Duration::from_mins(5);

/// A problem of the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    /// ElevenLabs has no webhook to `ELEVENLABS_STATUS_CALLBACK_URL`.
    Missing,
    /// A person disabled the webhook.
    Disabled,
    /// ElevenLabs disabled the webhook after failed deliveries.
    AutoDisabled,
    /// The workspace does not send all events to the webhook.
    Unbound,
    /// A delivery failed within the last hour.
    Failing,
}

impl Problem {
    const ALL: [Self; 5] = [Self::Missing, Self::Disabled, Self::AutoDisabled, Self::Unbound, Self::Failing];

    /// The word in metrics and logs.
    fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Disabled => "disabled",
            Self::AutoDisabled => "auto_disabled",
            Self::Unbound => "unbound",
            Self::Failing => "failing",
        }
    }

    /// The problem and its remedy, for the log.
    fn description(self) -> &'static str {
        match self {
            Self::Missing => {
                "ElevenLabs has no webhook to ELEVENLABS_STATUS_CALLBACK_URL; run `aftercall-worker register`"
            }
            Self::Disabled => "somebody disabled the webhook at ElevenLabs",
            Self::AutoDisabled => {
                "ElevenLabs disabled the webhook after failed deliveries; run `aftercall-worker register`"
            }
            Self::Unbound => {
                "the workspace at ElevenLabs does not send all events of calls to the webhook; run `aftercall-worker register`"
            }
            Self::Failing => "ElevenLabs could not deliver a webhook within the last hour",
        }
    }
}

/// Checks the webhook until `stop`. Returns at once if `ELEVENLABS_STATUS_CALLBACK_URL` is not set.
pub async fn run(context: Arc<Context>, api: ElevenLabs, stop: CancellationToken) {
    let Some(url) = context.config.elevenlabs_status_callback_url.clone() else {
        tracing::info!("ELEVENLABS_STATUS_CALLBACK_URL is not set: the webhook at ElevenLabs is not checked");
        return;
    };
    loop {
        let wait = match check(&api, url.as_str()).await {
            Ok(found) => {
                for problem in Problem::ALL {
                    context.metrics.registration(problem.label(), found.contains(&problem));
                }
                for problem in &found {
                    tracing::error!(problem = problem.label(), "{}", problem.description());
                }
                INTERVAL
            }
            Err(error) => {
                tracing::warn!(%error, "the webhook at ElevenLabs could not be checked");
                RETRY_DELAY
            }
        };
        if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
    }
}

async fn check(api: &ElevenLabs, url: &str) -> Result<Vec<Problem>, crate::elevenlabs::ApiError> {
    let webhooks = api.webhooks().await?;
    let binding = api.binding(&Scope::Workspace).await?;
    Ok(problems(&webhooks, url, &binding, Timestamp::now()))
}

/// Finds the problems of the webhook. Pure. Agents with bindings of their own are not checked.
fn problems(webhooks: &[Webhook], url: &str, binding: &Map<String, Value>, now: Timestamp) -> Vec<Problem> {
    let Some(webhook) = webhook_plan::find_by_url(webhooks, url, binding) else {
        return vec![Problem::Missing];
    };
    let bound = binding.get("post_call_webhook_id").and_then(Value::as_str) == Some(webhook.id.as_str());
    let events = webhook_plan::events(binding);
    let all = EVENTS.iter().all(|event| events.iter().any(|bound| bound == event));
    let failing = webhook.failed_at().is_some_and(|at| between(at, now) < INTERVAL);
    [
        (Problem::Disabled, webhook.is_disabled),
        (Problem::AutoDisabled, webhook.is_auto_disabled),
        (Problem::Unbound, !bound || !all),
        (Problem::Failing, failing),
    ]
    .into_iter()
    .filter_map(|(problem, is_so)| is_so.then_some(problem))
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_problem_is_found() {
        const URL: &str = "https://hooks.example.com/x";
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let webhook = |change: Value| {
            let mut webhook = json!({ "webhook_id": "a", "webhook_url": URL });
            webhook.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            vec![serde_json::from_value::<Webhook>(webhook).unwrap()]
        };
        let bound = json!({ "post_call_webhook_id": "a", "events": EVENTS });
        let half = json!({ "post_call_webhook_id": "a", "events": ["transcript"] });
        let failed = |at: i64| {
            webhook(json!({ "most_recent_failure_timestamp": at, "most_recent_failure_error_code": 500 }))
        };
        #[rustfmt::skip]
        let table = [
            (vec![],                                      &bound,      vec![Problem::Missing]),
            (webhook(json!({})),                          &bound,      vec![]),
            (webhook(json!({ "is_disabled": true })),     &bound,      vec![Problem::Disabled]),
            (webhook(json!({ "is_auto_disabled": true })), &bound,     vec![Problem::AutoDisabled]),
            (webhook(json!({})),                          &json!({}),  vec![Problem::Unbound]),
            (webhook(json!({})),                          &half,       vec![Problem::Unbound]),
            (failed(1_789_999_000),                       &bound,      vec![Problem::Failing]),
            (failed(1_789_990_000),                       &bound,      vec![]),
        ];
        for (webhooks, binding, expected) in table {
            assert_eq!(problems(&webhooks, URL, binding.as_object().unwrap(), now), expected, "{webhooks:?}");
        }
    }
}
