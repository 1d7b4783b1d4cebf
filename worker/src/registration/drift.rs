//! Finds what is wrong with the registration at ElevenLabs. Pure.
//!
//! A registration is of the workspace or of single agents (`register --agent`). If the workspace is bound
//! elsewhere and an agent is bound to this gateway, the other agents are nobody's mistake.

use std::time::Duration;

use jiff::Timestamp;

use super::current::Current;
use crate::{
    domain::time::between,
    elevenlabs::{Binding, TRANSCRIPT_FORMAT, Webhook},
};

/// Longest value of a foreign setting that is shown, in characters.
const MAX_VALUE: usize = 40;

/// A kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// ElevenLabs has no webhook to `ELEVENLABS_STATUS_CALLBACK_URL`.
    Missing,
    /// A person disabled the webhook.
    Disabled,
    /// ElevenLabs disabled the webhook after failed deliveries.
    AutoDisabled,
    /// Neither the workspace nor an agent sends its events to the webhook.
    Unbound,
    /// Some events are not sent to the webhook.
    Events,
    /// Transcripts are sent in another format.
    TranscriptFormat,
    /// The workspace sends its events to the webhook, but an agent sends its own to another one.
    Overridden,
    /// A delivery failed a short time ago.
    Failing,
}

impl Problem {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Missing,
        Self::Disabled,
        Self::AutoDisabled,
        Self::Unbound,
        Self::Events,
        Self::TranscriptFormat,
        Self::Overridden,
        Self::Failing,
    ];

    /// The word in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Disabled => "disabled",
            Self::AutoDisabled => "auto_disabled",
            Self::Unbound => "unbound",
            Self::Events => "events",
            Self::TranscriptFormat => "transcript_format",
            Self::Overridden => "overridden",
            Self::Failing => "failing",
        }
    }

    /// The problem of a word.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|problem| problem.label() == label)
    }

    /// The problem and its remedy, for the log and the console.
    pub fn description(self) -> &'static str {
        match self {
            Self::Missing => {
                "ElevenLabs has no webhook to ELEVENLABS_STATUS_CALLBACK_URL; run `aftercall-worker register`"
            }
            Self::Disabled => "somebody disabled the webhook at ElevenLabs",
            Self::AutoDisabled => {
                "ElevenLabs disabled the webhook after failed deliveries; run `aftercall-worker register`"
            }
            Self::Unbound => {
                "neither the workspace nor an agent at ElevenLabs sends its events to the webhook; run `aftercall-worker register`"
            }
            Self::Events => {
                "ElevenLabs does not send all events of calls to the webhook; run `aftercall-worker register`, with --agent if an agent is named"
            }
            Self::TranscriptFormat => {
                "ElevenLabs does not send transcripts as JSON; run `aftercall-worker register`, with --agent if an agent is named"
            }
            Self::Overridden => {
                "an agent sends its events to another webhook, not to that of the workspace; if that is not intended, run `aftercall-worker register --agent`"
            }
            Self::Failing => "ElevenLabs could not deliver a webhook within the last hour",
        }
    }
}

/// A problem that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The problem.
    pub problem: Problem,
    /// The agent that has it. `None`: the workspace or the webhook.
    pub agent: Option<String>,
    /// What is missing, or what is there instead.
    pub detail: Option<String>,
}

/// Finds the problems of the webhook to `url`, which is to get `events`. A delivery counts as failing for the
/// time `recent`.
pub fn findings(
    current: &Current,
    url: &str,
    events: &[String],
    now: Timestamp,
    recent: Duration,
) -> Vec<Finding> {
    let is_ours = |binding: &Binding| binding.webhook_id().is_some_and(|id| current.leads_to(id, url));
    let workspace_is_ours = is_ours(&current.workspace);
    let bound = current.agents.iter().map(|agent| &agent.binding).chain([&current.workspace]);
    let bound: Vec<_> = bound.filter_map(Binding::webhook_id).collect();
    let ours = current.webhooks.iter().filter(|webhook| webhook.url == url);
    let mut used: Vec<_> = ours.filter(|webhook| bound.contains(&webhook.id.as_str())).collect();
    let is_unbound = used.is_empty();
    used.extend(current.find_by_url(url, &current.workspace).filter(|_| is_unbound));
    if used.is_empty() {
        return vec![alone(Problem::Missing)];
    }

    let mut found = Vec::new();
    let any = |is_so: fn(&Webhook) -> bool| used.iter().any(|webhook| is_so(webhook));
    found.extend(any(|webhook| webhook.is_disabled).then_some(alone(Problem::Disabled)));
    found.extend(any(|webhook| webhook.is_auto_disabled).then_some(alone(Problem::AutoDisabled)));
    found.extend(is_unbound.then_some(alone(Problem::Unbound)));
    if workspace_is_ours {
        found.extend(drifted(None, &current.workspace, events, true));
    }
    for agent in &current.agents {
        let own = agent.binding.webhook_id();
        if is_ours(&agent.binding) || (own.is_none() && workspace_is_ours) {
            found.extend(drifted(Some(&agent.id), &agent.binding, events, own.is_some()));
        } else if let Some(id) = own.filter(|_| workspace_is_ours) {
            found.push(Finding {
                problem: Problem::Overridden,
                agent: Some(agent.id.clone()),
                detail: Some(current.destination(id).to_string()),
            });
        }
    }
    let failing = used.iter().filter_map(|webhook| webhook.failed_at()).any(|at| between(at, now) < recent);
    found.extend(failing.then_some(alone(Problem::Failing)));
    found
}

/// A problem of the webhook itself.
fn alone(problem: Problem) -> Finding {
    Finding { problem, agent: None, detail: None }
}

/// Those of the wanted `events`, and the format, that a binding to this gateway lacks. An agent without a webhook of its own
/// (`names_webhook` is false) inherits the events and the format that it does not set (guessed).
fn drifted(agent: Option<&str>, binding: &Binding, events: &[String], names_webhook: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut push = |problem, detail: String| {
        found.push(Finding { problem, agent: agent.map(str::to_owned), detail: Some(detail) });
    };
    let missing = binding.missing_events(events);
    if !missing.is_empty() && (names_webhook || !binding.events().is_empty()) {
        push(Problem::Events, missing.join(", "));
    }
    if let Some(format) = binding.transcript_format().filter(|format| *format != TRANSCRIPT_FORMAT) {
        push(Problem::TranscriptFormat, format!("{:?}", format.chars().take(MAX_VALUE).collect::<String>()));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{config::EVENTS, registration::AgentBinding};

    const URL: &str = "https://hooks.example.com/x";
    const NOW: i64 = 1_790_000_000;

    fn webhook(change: &Value) -> Webhook {
        let mut webhook = json!({ "webhook_id": "a", "webhook_url": URL });
        webhook.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::from_value(webhook).unwrap()
    }

    /// The findings as `label agent detail`.
    fn found(webhooks: Vec<Webhook>, workspace: &Value, agents: &[(&str, Value)]) -> Vec<String> {
        let agents = agents
            .iter()
            .map(|(id, binding)| AgentBinding { id: (*id).to_owned(), binding: Binding::new(binding) });
        let current = Current {
            webhooks,
            workspace: Binding::new(workspace),
            agents: agents.collect(),
            ..Current::default()
        };
        let now = Timestamp::from_second(NOW).unwrap();
        let found = findings(&current, URL, &EVENTS.map(str::to_owned), now, Duration::from_hours(1));
        let shown = found.into_iter().map(|finding| {
            let parts = [Some(finding.problem.label().to_owned()), finding.agent, finding.detail];
            parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
        });
        shown.collect()
    }

    #[test]
    fn every_problem_of_the_webhook_is_found() {
        let bound = json!({ "post_call_webhook_id": "a", "events": EVENTS, "transcript_format": "json" });
        let silent = json!({ "post_call_webhook_id": "a", "events": EVENTS });
        let half = json!({ "post_call_webhook_id": "a", "events": ["transcript"] });
        let otel =
            json!({ "post_call_webhook_id": "a", "events": EVENTS, "transcript_format": "opentelemetry" });
        let foreign = json!({ "post_call_webhook_id": "b", "events": EVENTS });
        let failed =
            |at: i64| json!({ "most_recent_failure_timestamp": at, "most_recent_failure_error_code": 500 });
        #[rustfmt::skip]
        let table = [
            (None,                                      &bound,     &["missing"][..]),
            (Some(json!({ "webhook_url": "https://n8n.example.com" })), &bound, &["missing"]),
            (Some(json!({})),                           &bound,     &[]),
            (Some(json!({})),                           &silent,    &[]),
            (Some(json!({ "is_disabled": true })),      &bound,     &["disabled"]),
            (Some(json!({ "is_auto_disabled": true })), &bound,     &["auto_disabled"]),
            (Some(json!({})),                           &json!({}), &["unbound"]),
            (Some(json!({})),                           &foreign,   &["unbound"]),
            (Some(json!({})),                           &half,      &["events call_initiation_failure, answering_machine_detection"]),
            (Some(json!({})),                           &otel,      &["transcript_format \"opentelemetry\""]),
            (Some(failed(NOW - 1000)),                  &bound,     &["failing"]),
            (Some(failed(NOW - 10_000)),                &bound,     &[]),
        ];
        for (change, binding, expected) in table {
            let webhooks: Vec<_> = change.iter().map(webhook).collect();
            assert_eq!(found(webhooks, binding, &[]), expected, "{change:?} {binding}");
        }
    }

    #[test]
    fn drift_is_found_by_agent_and_a_registration_of_one_agent_is_no_problem() {
        let bound = json!({ "post_call_webhook_id": "a", "events": EVENTS, "transcript_format": "json" });
        let half =
            json!({ "post_call_webhook_id": "a", "events": ["transcript", "call_initiation_failure"] });
        let foreign =
            json!({ "post_call_webhook_id": "b", "events": ["audio"], "transcript_format": "opentelemetry" });
        let own_format = json!({ "post_call_webhook_id": null, "transcript_format": "opentelemetry" });
        let own_events = json!({ "events": ["transcript", "call_initiation_failure"] });
        let empty = json!({ "events": [], "transcript_format": null });
        let none = json!({});
        let overridden = "overridden own \"crm\" (b, host crm.example.com)";
        #[rustfmt::skip]
        let table = [
            (&bound,   &bound,      &[][..]),
            (&bound,   &foreign,    &[overridden]),
            (&bound,   &half,       &["events own answering_machine_detection"]),
            (&bound,   &own_format, &["transcript_format own \"opentelemetry\""]),
            (&bound,   &own_events, &["events own answering_machine_detection"]),
            (&bound,   &empty,      &[]),
            (&none,    &bound,      &[]),
            (&foreign, &bound,      &[]),
            (&foreign, &half,       &["events own answering_machine_detection"]),
            (&none,    &foreign,    &["unbound"]),
            (&foreign, &own_format, &["unbound"]),
        ];
        let crm = webhook(
            &json!({ "webhook_id": "b", "name": "crm", "webhook_url": "https://crm.example.com/t0ken" }),
        );
        for (workspace, own, expected) in table {
            let webhooks = vec![webhook(&json!({})), crm.clone()];
            assert_eq!(found(webhooks, workspace, &[("own", own.clone())]), expected, "{workspace} {own}");
        }
    }

    #[test]
    fn the_webhook_of_an_agent_is_checked_and_an_unused_one_is_not() {
        let old = webhook(&json!({ "is_disabled": true }));
        let new = webhook(&json!({ "webhook_id": "c" }));
        let bound = |id: &str| json!({ "post_call_webhook_id": id, "events": EVENTS });
        let both = vec![old, new];
        assert_eq!(found(both.clone(), &bound("c"), &[]), [""; 0]);
        assert_eq!(found(both.clone(), &bound("c"), &[("own", bound("a"))]), ["disabled"]);
        assert_eq!(found(both, &json!({}), &[("own", bound("a"))]), ["disabled"]);
    }
}
