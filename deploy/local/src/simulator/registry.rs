//! The webhooks of the workspace, and the events of workspace and agents that are bound to them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

/// The events that can be bound.
const EVENTS: [&str; 6] = [
    "transcript",
    "audio",
    "call_initiation_failure",
    "answering_machine_detection",
    "unredacted_transcript",
    "unredacted_audio",
];
/// The formats of transcripts.
const FORMATS: [&str; 2] = ["json", "opentelemetry"];

/// Consecutive failures after which a webhook that never succeeded is disabled.
const MAX_FAILURES: u32 = 10;

/// A webhook of the workspace.
#[derive(Clone, Debug)]
pub(super) struct Webhook {
    pub id: String,
    pub name: String,
    pub url: String,
    pub secret: String,
    pub headers: BTreeMap<String, String>,
    pub retry_enabled: bool,
    pub is_disabled: bool,
    pub is_auto_disabled: bool,
    failures: u32,
    last_success: Option<i64>,
    last_failure: Option<(u16, i64)>,
    created: i64,
}

impl Webhook {
    fn json(&self) -> Value {
        json!({
            "name": self.name, "webhook_id": self.id, "webhook_url": self.url, "is_disabled": self.is_disabled,
            "is_auto_disabled": self.is_auto_disabled, "created_at_unix": self.created, "auth_type": "hmac",
            "retry_enabled": self.retry_enabled, "usage": null,
            "most_recent_failure_error_code": self.last_failure.map(|(code, _)| code),
            "most_recent_failure_timestamp": self.last_failure.map(|(_, at)| at),
        })
    }

    /// Records the status of a delivery. 0: there was no answer.
    pub(super) fn delivered(&mut self, status: u16) {
        if status == 200 {
            (self.failures, self.last_success) = (0, Some(Timestamp::now().as_second()));
            return;
        }
        self.failures += 1;
        self.last_failure = Some((status, Timestamp::now().as_second()));
        self.is_auto_disabled |= self.failures >= MAX_FAILURES && self.last_success.is_none();
    }
}

/// The webhooks and their bindings.
#[derive(Debug)]
pub(super) struct Registry {
    webhooks: Vec<Webhook>,
    /// Number of webhooks created so far.
    created: usize,
    /// `webhooks` in the settings of the workspace.
    settings: Value,
    /// `platform_settings.workspace_overrides.webhooks` by agent.
    agents: BTreeMap<String, Value>,
}

impl Registry {
    pub(super) fn new() -> Self {
        let settings = json!({ "post_call_webhook_id": null, "events": [], "send_audio": false });
        Self { webhooks: Vec::new(), created: 0, settings, agents: BTreeMap::new() }
    }

    /// Creates a webhook.
    pub(super) fn create(
        &mut self,
        name: &str,
        url: &str,
        headers: &Value,
        secret: Option<String>,
    ) -> &Webhook {
        self.created += 1;
        let headers = headers.as_object().into_iter().flatten();
        self.webhooks.push(Webhook {
            id: format!("wh_simulated{}", self.created),
            name: name.to_owned(),
            url: url.to_owned(),
            secret: secret.unwrap_or_else(|| format!("wsec_simulated{:032x}", self.created)),
            headers: headers
                .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect(),
            retry_enabled: false,
            is_disabled: false,
            is_auto_disabled: false,
            failures: 0,
            last_success: None,
            last_failure: None,
            created: Timestamp::now().as_second(),
        });
        &self.webhooks[self.webhooks.len() - 1]
    }

    /// Binds `events` of the workspace to the webhook `id`.
    pub(super) fn bind(&mut self, id: &str, events: &[&str]) {
        self.settings = json!({
            "post_call_webhook_id": id, "events": events, "transcript_format": "json", "send_audio": false,
        });
    }

    pub(super) fn find(&mut self, id: &str) -> Option<&mut Webhook> {
        self.webhooks.iter_mut().find(|webhook| webhook.id == id)
    }

    pub(super) fn remove(&mut self, id: &str) -> bool {
        let before = self.webhooks.len();
        self.webhooks.retain(|webhook| webhook.id != id);
        self.webhooks.len() < before
    }

    /// All webhooks as JSON. `secrets` adds secrets and headers, which the real API does not list.
    pub(super) fn list(&self, secrets: bool) -> Vec<Value> {
        let shown = self.webhooks.iter().map(|webhook| {
            let mut json = webhook.json();
            if secrets {
                json["secret"] = webhook.secret.as_str().into();
                json["request_headers"] = json!(webhook.headers);
            }
            json
        });
        shown.collect()
    }

    /// The binding that counts for `agent`: its own, or that of the workspace.
    fn binding(&self, agent: &str) -> &Value {
        let own = self.agents.get(agent).filter(|own| own["post_call_webhook_id"].is_string());
        own.unwrap_or(&self.settings)
    }

    /// The format of transcripts in the webhooks of `agent`.
    pub(super) fn format(&self, agent: &str) -> &str {
        self.binding(agent)["transcript_format"].as_str().unwrap_or("json")
    }

    /// The enabled webhook that is bound to `event` of `agent`.
    pub(super) fn bound(&self, agent: &str, event: &str) -> Option<Webhook> {
        let binding = self.binding(agent);
        let wants = binding["events"].as_array()?.iter().any(|name| name == event);
        let id = binding["post_call_webhook_id"].as_str().filter(|_| wants)?;
        let webhook = self.webhooks.iter().find(|webhook| webhook.id == id)?;
        (!webhook.is_disabled && !webhook.is_auto_disabled).then(|| webhook.clone())
    }

    pub(super) fn settings(&self) -> Value {
        json!({
            "webhooks": self.settings, "conversation_initiation_client_data_webhook": null,
            "can_use_mcp_servers": false, "rag_retention_period_days": 10,
        })
    }

    /// Replaces the nested object as a whole, as the real API does: a key that the patch lacks is removed.
    /// False: the binding is not valid, and nothing changes.
    pub(super) fn change_settings(&mut self, patch: &Value) -> bool {
        let webhooks = &patch["webhooks"];
        if webhooks.is_object() && is_valid(webhooks) {
            self.settings = webhooks.clone();
        }
        is_valid(webhooks)
    }

    /// The agents in the form of their list, ordered by id.
    pub(super) fn list_agents(&self) -> Vec<Value> {
        let agents = self.agents.keys().map(|id| {
            json!({
                "agent_id": id, "name": "Simulated agent", "voice_id": "voice_simulated", "tags": [],
                "created_at_unix_secs": 1_790_000_000, "updated_at_unix_secs": 1_790_000_000,
                "access_info": {
                    "is_creator": true, "creator_name": "Simulated", "creator_email": "simulated@example.com",
                    "role": "admin",
                },
                "last_call_time_unix_secs": null, "archived": false,
            })
        });
        agents.collect()
    }

    pub(super) fn agent(&self, id: &str) -> Value {
        let webhooks = self.agents.get(id).cloned().unwrap_or_else(|| json!({}));
        json!({
            "agent_id": id, "name": "Simulated agent", "conversation_config": {},
            "metadata": { "created_at_unix_secs": 1_790_000_000, "updated_at_unix_secs": 1_790_000_000 },
            "platform_settings": { "workspace_overrides": { "webhooks": webhooks } },
            "phone_numbers": [], "tags": [],
        })
    }

    /// Replaces the binding of an agent. An empty one leaves the agent without a binding of its own. False:
    /// the binding is not valid, and nothing changes.
    pub(super) fn change_agent(&mut self, id: &str, patch: &Value) -> bool {
        let webhooks = &patch["platform_settings"]["workspace_overrides"]["webhooks"];
        if webhooks.is_object() && is_valid(webhooks) {
            self.agents.insert(id.to_owned(), webhooks.clone());
        }
        is_valid(webhooks)
    }
}

/// Whether ElevenLabs knows the events and the format of this binding. That it refuses others is guessed.
fn is_valid(webhooks: &Value) -> bool {
    let mut events = webhooks["events"].as_array().into_iter().flatten();
    let format = &webhooks["transcript_format"];
    events.all(|event| EVENTS.iter().any(|known| event == known))
        && (format.is_null() || FORMATS.iter().any(|known| format == known))
}
