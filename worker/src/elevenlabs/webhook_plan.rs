//! Plans the changes at ElevenLabs that are necessary for its webhooks to reach the gateway. Pure.

use std::fmt;

use serde_json::{Map, Value, json};

use super::Webhook;

/// The events that are bound by default: all events that decide the state of a call.
pub const EVENTS: [&str; 2] = ["transcript", "call_initiation_failure"];

/// The state that the operator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The URL of the gateway.
    pub url: String,
    /// The name of a new webhook.
    pub name: String,
    /// The events to bind.
    pub events: Vec<String>,
    /// Whether a new webhook with a new secret replaces an existing one.
    pub rotate: bool,
    /// Whether the webhook gets a header. The API does not return the present value of the header.
    pub sets_header: bool,
}

/// A step of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Create a webhook. The API returns its secret only once.
    Create,
    /// Enable the webhook and its retries, and set its header.
    Enable {
        /// The id of the webhook. `None`: the new webhook.
        id: Option<String>,
        /// The reason, in words.
        why: &'static str,
    },
    /// Bind the events to the webhook, in addition to the events that are bound already.
    Bind {
        /// The id of the webhook. `None`: the new webhook.
        id: Option<String>,
        /// All events that are bound afterwards.
        events: Vec<String>,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let which = |id: &Option<String>| id.clone().unwrap_or_else(|| "the new webhook".to_owned());
        match self {
            Self::Create => f.write_str("create a webhook, whose secret is shown once"),
            Self::Enable { id, why } => write!(f, "change {}: {why}", which(id)),
            Self::Bind { id, events } => write!(f, "bind {} to {}", events.join(", "), which(id)),
        }
    }
}

/// The webhook with this `url`. If there are several, the bound webhook is preferred, then an enabled
/// webhook.
pub fn find_by_url<'a>(
    webhooks: &'a [Webhook],
    url: &str,
    binding: &Map<String, Value>,
) -> Option<&'a Webhook> {
    let bound = binding.get("post_call_webhook_id").and_then(Value::as_str);
    let mut candidates: Vec<_> = webhooks.iter().filter(|webhook| webhook.url == url).collect();
    candidates.sort_by_key(|webhook| {
        (Some(webhook.id.as_str()) != bound, webhook.is_disabled || webhook.is_auto_disabled)
    });
    candidates.first().copied()
}

/// The steps to the wanted state. Empty if this state is reached already.
pub fn plan(wanted: &Wanted, webhooks: &[Webhook], binding: &Map<String, Value>) -> Vec<Step> {
    let found = find_by_url(webhooks, &wanted.url, binding).filter(|_| !wanted.rotate);
    let mut steps = Vec::new();
    let id = found.map(|webhook| webhook.id.clone());
    match found {
        None => {
            steps.push(Step::Create);
            steps.push(Step::Enable { id: None, why: "retries on" });
        }
        Some(webhook) => {
            let why = if webhook.is_auto_disabled {
                Some("switched off by ElevenLabs after failures: on again, retries on")
            } else if webhook.is_disabled {
                Some("switched off: on again, retries on")
            } else if webhook.retry_enabled != Some(true) {
                Some("retries on")
            } else if wanted.sets_header {
                Some("header set")
            } else {
                None
            };
            steps.extend(why.map(|why| Step::Enable { id: id.clone(), why }));
        }
    }
    let bound_here =
        id.is_some() && binding.get("post_call_webhook_id").and_then(Value::as_str) == id.as_deref();
    let missing = wanted.events.iter().any(|event| !events(binding).contains(event));
    if !bound_here || missing {
        steps.push(Step::Bind { id, events: merged(wanted, binding) });
    }
    steps
}

/// The binding with the webhook `id` and the wanted events. All other keys are unchanged.
pub fn bound(wanted: &Wanted, binding: &Map<String, Value>, id: &str) -> Map<String, Value> {
    let mut bound = binding.clone();
    bound.insert("post_call_webhook_id".to_owned(), id.into());
    bound.insert("events".to_owned(), json!(merged(wanted, binding)));
    bound
}

/// The events in a binding.
pub fn events(binding: &Map<String, Value>) -> Vec<String> {
    let events = binding.get("events").and_then(Value::as_array).into_iter().flatten();
    events.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn merged(wanted: &Wanted, binding: &Map<String, Value>) -> Vec<String> {
    let mut merged = events(binding);
    merged.extend(wanted.events.iter().filter(|event| !events(binding).contains(event)).cloned());
    merged
}

#[cfg(test)]
mod tests;
