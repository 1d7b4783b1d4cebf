//! The webhooks of a workspace and the events bound to them: `/v1/workspace/webhooks`, `/v1/convai/settings`,
//! `/v1/convai/agents`, `/v1/convai/agents/{id}`.

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiError, Binding, ElevenLabs, answer::read, client::MAX_BODY_BYTES};
use crate::config::is_id;

/// Agents on one page of their list. The API allows at most 100.
const AGENTS_PER_PAGE: &str = "100";

/// A webhook of the workspace. The API returns its secret only when the webhook is created.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Webhook {
    /// The id of the webhook.
    #[serde(rename = "webhook_id")]
    pub id: String,
    /// The name of the webhook.
    #[serde(default)]
    pub name: String,
    /// The URL that receives the webhook. It cannot be changed.
    #[serde(rename = "webhook_url")]
    pub url: String,
    /// Whether a user has disabled it.
    #[serde(default)]
    pub is_disabled: bool,
    /// Whether ElevenLabs has disabled it after failures.
    #[serde(default)]
    pub is_auto_disabled: bool,
    /// Whether ElevenLabs sends a transcript again after a failure. Not all accounts receive this field.
    #[serde(default)]
    pub retry_enabled: Option<bool>,
    /// The HTTP status of the last failure.
    #[serde(default)]
    pub most_recent_failure_error_code: Option<i64>,
    /// The time of the last failure, in Unix seconds.
    #[serde(default)]
    pub most_recent_failure_timestamp: Option<i64>,
}

impl Webhook {
    /// The time of the last failure.
    pub fn failed_at(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.most_recent_failure_timestamp?).ok()
    }
}

/// A new webhook.
#[derive(Clone, Deserialize)]
pub struct NewWebhook {
    /// The id of the webhook.
    #[serde(rename = "webhook_id")]
    pub id: String,
    /// The secret that signs its requests.
    #[serde(rename = "webhook_secret")]
    pub secret: Option<aftercall_common::process::config::Secret>,
}

/// The agents whose events are bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All agents of the workspace.
    Workspace,
    /// One agent. Its binding replaces the binding of the workspace.
    Agent(String),
}

/// A page of the list of agents.
#[derive(Clone, Debug, Deserialize)]
pub struct AgentsPage {
    agents: Vec<AgentSummary>,
    #[serde(default)]
    next_cursor: Option<String>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct AgentSummary {
    agent_id: String,
}

impl AgentsPage {
    /// The ids of the agents. An id that cannot be a part of a path is left out.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.agents.iter().map(|agent| agent.agent_id.as_str()).filter(|id| is_id(id))
    }

    /// The cursor of the next page. `None`: this is the last page.
    pub fn next(&self) -> Option<&str> {
        self.next_cursor.as_deref().filter(|_| self.has_more)
    }
}

impl Scope {
    fn path(&self) -> String {
        match self {
            Self::Workspace => "/v1/convai/settings".to_owned(),
            Self::Agent(id) => format!("/v1/convai/agents/{id}"),
        }
    }
}

impl ElevenLabs {
    /// Lists the webhooks of the workspace.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>, ApiError> {
        #[derive(Deserialize)]
        struct List {
            webhooks: Vec<Webhook>,
        }
        let request = self.request(Method::GET, "/v1/workspace/webhooks");
        let list: List = self.send_with_retries(request, read).await?;
        Ok(list.webhooks)
    }

    /// Creates a webhook. The request is never repeated, because a second one would create a second webhook.
    pub async fn create_webhook(
        &self,
        name: &str,
        url: &str,
        header: Option<(&str, &str)>,
    ) -> Result<NewWebhook, ApiError> {
        let mut settings = json!({ "auth_type": "hmac", "name": name, "webhook_url": url });
        if let Some((name, value)) = header {
            settings["request_headers"] = json!({ name: value });
        }
        let request = self.request(Method::POST, "/v1/workspace/webhooks");
        let request = request.json(&json!({ "settings": settings }));
        read(&self.send(request, MAX_BODY_BYTES).await?)
    }

    /// Enables a webhook and its retries, and sets its header if one is given.
    pub async fn enable_webhook(
        &self,
        id: &str,
        name: &str,
        header: Option<(&str, &str)>,
    ) -> Result<(), ApiError> {
        let mut body = json!({ "is_disabled": false, "name": name, "retry_enabled": true });
        if let Some((name, value)) = header {
            body["request_headers"] = json!({ name: value });
        }
        let request = self.request(Method::PATCH, &format!("/v1/workspace/webhooks/{id}"));
        self.send_with_retries(request.json(&body), read::<Value>).await.map(drop)
    }

    /// Deletes a webhook.
    pub async fn delete_webhook(&self, id: &str) -> Result<(), ApiError> {
        let request = self.request(Method::DELETE, &format!("/v1/workspace/webhooks/{id}"));
        self.send_with_retries(request, read::<Value>).await.map(drop)
    }

    /// Lists the agents of the workspace, one page from `cursor`.
    pub async fn agents(&self, cursor: Option<&str>) -> Result<AgentsPage, ApiError> {
        let mut pairs = vec![("page_size", AGENTS_PER_PAGE)];
        pairs.extend(cursor.map(|cursor| ("cursor", cursor)));
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let request = self.request(Method::GET, &format!("/v1/convai/agents?{query}"));
        self.send_with_retries(request, read).await
    }

    /// Fetches the binding of `scope` with all its keys. The binding of an agent without one is empty.
    pub async fn binding(&self, scope: &Scope) -> Result<Binding, ApiError> {
        let found: Value = self.send_with_retries(self.request(Method::GET, &scope.path()), read).await?;
        Ok(Binding::new(match scope {
            Scope::Workspace => &found["webhooks"],
            Scope::Agent(_) => &found["platform_settings"]["workspace_overrides"]["webhooks"],
        }))
    }

    /// Replaces the whole binding of `scope`, because the API does not document whether it merges a part.
    pub async fn bind(&self, scope: &Scope, binding: &Binding) -> Result<(), ApiError> {
        let binding = binding.keys();
        let body = match scope {
            Scope::Workspace => json!({ "webhooks": binding }),
            Scope::Agent(_) => {
                json!({ "platform_settings": { "workspace_overrides": { "webhooks": binding } } })
            }
        };
        let request = self.request(Method::PATCH, &scope.path());
        self.send_with_retries(request.json(&body), read::<Value>).await.map(drop)
    }
}
