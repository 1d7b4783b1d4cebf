//! Workspace webhooks, and what is bound to them: `/v1/workspace/webhooks`, `/v1/convai/settings`,
//! `/v1/convai/agents/{id}`.

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{ApiError, ElevenLabs, MAX_BODY_BYTES, answer::read};

/// A workspace webhook. Its secret is told only once, when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Webhook {
    /// Its id.
    #[serde(rename = "webhook_id")]
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Where it goes. Cannot be changed.
    #[serde(rename = "webhook_url")]
    pub url: String,
    /// Switched off by somebody.
    #[serde(default)]
    pub is_disabled: bool,
    /// Switched off by ElevenLabs, after failures.
    #[serde(default)]
    pub is_auto_disabled: bool,
    /// Whether transcripts are sent again after a failure; not all accounts are told.
    #[serde(default)]
    pub retry_enabled: Option<bool>,
    /// HTTP status of its last failure.
    #[serde(default)]
    pub most_recent_failure_error_code: Option<i64>,
    /// When that was, Unix seconds.
    #[serde(default)]
    pub most_recent_failure_timestamp: Option<i64>,
}

impl Webhook {
    /// When it last failed.
    pub fn failed_at(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.most_recent_failure_timestamp?).ok()
    }
}

/// A webhook that was just made.
#[derive(Clone, Deserialize)]
pub struct NewWebhook {
    /// Its id.
    #[serde(rename = "webhook_id")]
    pub id: String,
    /// What it signs with.
    #[serde(rename = "webhook_secret")]
    pub secret: Option<aftercall_common::process::config::Secret>,
}

/// Whose events are bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every agent's.
    Workspace,
    /// One agent's, instead of the workspace's.
    Agent(String),
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
    /// The workspace's webhooks.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>, ApiError> {
        #[derive(Deserialize)]
        struct List {
            webhooks: Vec<Webhook>,
        }
        let request = self.request(Method::GET, "/v1/workspace/webhooks");
        let list: List = self.persist(request, read).await?;
        Ok(list.webhooks)
    }

    /// Makes a webhook. Sent once: a second one would be a second webhook.
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

    /// Switches a webhook on, with retries, and sets its header where one is given.
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
        self.persist(request.json(&body), read::<Value>).await.map(drop)
    }

    /// The binding of `scope`, every key of it.
    pub async fn binding(&self, scope: &Scope) -> Result<Map<String, Value>, ApiError> {
        let found: Value = self.persist(self.request(Method::GET, &scope.path()), read).await?;
        let binding = match scope {
            Scope::Workspace => &found["webhooks"],
            Scope::Agent(_) => &found["platform_settings"]["workspace_overrides"]["webhooks"],
        };
        Ok(binding.as_object().cloned().unwrap_or_default())
    }

    /// Replaces the binding of `scope`: whether a part would be merged is not documented.
    pub async fn bind(&self, scope: &Scope, binding: &Map<String, Value>) -> Result<(), ApiError> {
        let body = match scope {
            Scope::Workspace => json!({ "webhooks": binding }),
            Scope::Agent(_) => {
                json!({ "platform_settings": { "workspace_overrides": { "webhooks": binding } } })
            }
        };
        let request = self.request(Method::PATCH, &scope.path());
        self.persist(request.json(&body), read::<Value>).await.map(drop)
    }
}
