//! Plans the changes at ElevenLabs that are necessary for its webhooks to reach the gateway. Pure.
//!
//! Invariant: a plan whose binding takes the events from another webhook says so in [`Plan::displaced`].

use std::fmt;

use super::{current::Current, destination::Destination};
use crate::elevenlabs::{Binding, Scope, TRANSCRIPT_FORMAT, Webhook};

/// The state that the operator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The agents whose events are bound.
    pub scope: Scope,
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
    /// Bind the events to the webhook, in addition to the events that are bound already, and set the format
    /// of transcripts.
    Bind {
        /// The id of the webhook. `None`: the new webhook.
        id: Option<String>,
        /// All events that are bound afterwards.
        events: Vec<String>,
        /// Whether the format of transcripts changes.
        sets_format: bool,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let which = |id: &Option<String>| id.clone().unwrap_or_else(|| "the new webhook".to_owned());
        match self {
            Self::Create => f.write_str("create a webhook, whose secret is shown once"),
            Self::Enable { id, why } => write!(f, "change {}: {why}", which(id)),
            Self::Bind { id, events, sets_format } => {
                write!(f, "bind {} to {}", events.join(", "), which(id))?;
                if *sets_format {
                    write!(f, ", with transcript_format {TRANSCRIPT_FORMAT}")?;
                }
                Ok(())
            }
        }
    }
}

/// An agent whose own binding sends its events to another webhook. A binding of the workspace does not change
/// that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The id of the agent.
    pub agent: String,
    /// The webhook that receives its events.
    pub destination: Destination,
}

/// What `register` does, and what it means for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The steps to the wanted state. Empty if this state is reached already.
    pub steps: Vec<Step>,
    /// The webhook with the wanted URL.
    pub existing: Option<Webhook>,
    /// The webhook that receives the events now, and loses them by the plan.
    pub displaced: Option<Destination>,
    /// Agents whose events do not come here even after the plan.
    pub overrides: Vec<Override>,
}

/// Plans the way from the current to the wanted state.
pub fn plan(wanted: &Wanted, current: &Current) -> Plan {
    let binding = current.binding(&wanted.scope);
    let existing = current.find_by_url(&wanted.url, &binding);
    let found = existing.filter(|_| !wanted.rotate);
    let id = found.map(|webhook| webhook.id.clone());
    let mut steps = Vec::new();
    match found {
        None => {
            steps.push(Step::Create);
            steps.push(Step::Enable { id: None, why: "retries on" });
        }
        Some(webhook) => {
            let why = change(webhook, wanted.sets_header);
            steps.extend(why.map(|why| Step::Enable { id: id.clone(), why }));
        }
    }
    let is_bound = id.is_some() && binding.webhook_id() == id.as_deref();
    let sets_format = binding.transcript_format() != Some(TRANSCRIPT_FORMAT);
    if !is_bound || sets_format || !binding.missing_events(&wanted.events).is_empty() {
        steps.push(Step::Bind { id, events: binding.events_with(&wanted.events), sets_format });
    }
    Plan {
        steps,
        existing: existing.cloned(),
        displaced: displaced(wanted, current, &binding),
        overrides: overrides(wanted, current),
    }
}

/// Why the webhook has to be changed, if it has to.
fn change(webhook: &Webhook, sets_header: bool) -> Option<&'static str> {
    if webhook.is_auto_disabled {
        Some("switched off by ElevenLabs after failures: on again, retries on")
    } else if webhook.is_disabled {
        Some("switched off: on again, retries on")
    } else if webhook.retry_enabled != Some(true) {
        Some("retries on")
    } else if sets_header {
        Some("header set")
    } else {
        None
    }
}

/// The webhook that receives the events of the scope now, unless it leads to the wanted URL.
fn displaced(wanted: &Wanted, current: &Current, binding: &Binding) -> Option<Destination> {
    let receiver = current.receiver(binding)?;
    (!current.leads_to(receiver, &wanted.url)).then(|| current.destination(receiver))
}

/// The agents that a binding of the workspace does not reach.
fn overrides(wanted: &Wanted, current: &Current) -> Vec<Override> {
    if wanted.scope != Scope::Workspace {
        return Vec::new();
    }
    let agents = current.agents.iter().filter_map(|agent| {
        let receiver = agent.binding.webhook_id().filter(|id| !current.leads_to(id, &wanted.url))?;
        Some(Override { agent: agent.id.clone(), destination: current.destination(receiver) })
    });
    agents.collect()
}

#[cfg(test)]
mod tests;
