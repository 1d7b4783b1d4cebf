//! Looks whether the webhook at ElevenLabs still works: at the start, and every hour.

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

const EVERY: Duration = Duration::from_hours(1);
/// After a look that failed.
const AGAIN: Duration = Duration::from_mins(5);

/// What can be wrong with the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    Missing,
    Disabled,
    AutoDisabled,
    Unbound,
    Failing,
}

impl Problem {
    const ALL: [Self; 5] = [Self::Missing, Self::Disabled, Self::AutoDisabled, Self::Unbound, Self::Failing];

    fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Disabled => "disabled",
            Self::AutoDisabled => "auto_disabled",
            Self::Unbound => "unbound",
            Self::Failing => "failing",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Missing => {
                "ElevenLabs has no webhook to ELEVENLABS_STATUS_CALLBACK_URL; run `aftercall-worker register`"
            }
            Self::Disabled => "somebody switched the webhook off at ElevenLabs",
            Self::AutoDisabled => {
                "ElevenLabs switched the webhook off after failures; run `aftercall-worker register`"
            }
            Self::Unbound => {
                "the webhook is not bound to the events of calls in the workspace; run `aftercall-worker register`"
            }
            Self::Failing => "ElevenLabs could not deliver a webhook within the last hour",
        }
    }
}

/// Watches until `stop`; ends at once where there is no URL to look for.
pub async fn watch(context: Arc<Context>, api: ElevenLabs, stop: CancellationToken) {
    let Some(url) = context.config.elevenlabs_status_callback_url.clone() else {
        tracing::info!(
            "ELEVENLABS_STATUS_CALLBACK_URL is unset: nobody looks after the webhook at ElevenLabs"
        );
        return;
    };
    loop {
        let wait = match look(&api, url.as_str()).await {
            Ok(found) => {
                for problem in Problem::ALL {
                    context.metrics.registration(problem.label(), found.contains(&problem));
                }
                for problem in &found {
                    tracing::error!(problem = problem.label(), "{}", problem.sentence());
                }
                EVERY
            }
            Err(error) => {
                tracing::warn!(%error, "the webhook at ElevenLabs could not be looked after");
                AGAIN
            }
        };
        if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
    }
}

async fn look(api: &ElevenLabs, url: &str) -> Result<Vec<Problem>, crate::elevenlabs::ApiError> {
    let webhooks = api.webhooks().await?;
    let binding = api.binding(&Scope::Workspace).await?;
    Ok(problems(&webhooks, url, &binding, Timestamp::now()))
}

/// What is wrong. Pure. Agents with bindings of their own are not looked at.
fn problems(webhooks: &[Webhook], url: &str, binding: &Map<String, Value>, now: Timestamp) -> Vec<Problem> {
    let Some(webhook) = webhook_plan::find_by_url(webhooks, url, binding) else {
        return vec![Problem::Missing];
    };
    let bound = binding.get("post_call_webhook_id").and_then(Value::as_str) == Some(webhook.id.as_str());
    let events = webhook_plan::events(binding);
    let all = EVENTS.iter().all(|event| events.iter().any(|bound| bound == event));
    let failing = webhook.failed_at().is_some_and(|at| between(at, now) < EVERY);
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
    fn every_ailment_is_named() {
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
