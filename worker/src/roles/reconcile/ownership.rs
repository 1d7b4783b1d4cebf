//! Decides whether a conversation of which nothing is stored belongs to this installation.
//!
//! A workspace at ElevenLabs can serve several systems. A conversation is ours if ElevenLabs sends its webhook
//! to `ELEVENLABS_STATUS_CALLBACK_URL`, or if the operator names its agent in `AGENTS`.

use std::collections::HashMap;

use tokio_util::sync::CancellationToken;

use super::{api_retry, error::PassError};
use crate::{
    config::Config,
    elevenlabs::{ApiError, Binding, ElevenLabs, Scope, Summary},
    registration::Current,
};

/// What the workspace says about the webhooks of its agents.
enum Workspace {
    /// It has no webhook to our URL, or does not show its webhooks. All agents count as ours.
    Silent,
    /// Its webhooks and its binding.
    Read(Current),
}

/// The conversations that belong to this installation. Bindings are read when they are first needed.
pub struct Ownership<'a> {
    config: &'a Config,
    api: &'a ElevenLabs,
    stop: &'a CancellationToken,
    /// `None`: not read yet.
    workspace: Option<Workspace>,
    /// Whether the webhook of an agent is ours.
    agents: HashMap<String, bool>,
}

impl<'a> Ownership<'a> {
    /// Nothing is read yet.
    pub fn new(config: &'a Config, api: &'a ElevenLabs, stop: &'a CancellationToken) -> Self {
        Self { config, api, stop, workspace: None, agents: HashMap::new() }
    }

    /// Whether `CHANNELS` admits this channel. A channel that nobody names is admitted.
    pub fn admits(&self, channel: Option<&str>) -> bool {
        let Some((channels, channel)) = self.config.channels.as_ref().zip(channel) else { return true };
        channels.has(channel)
    }

    /// Whether the agent of `listed` is ours.
    ///
    /// # Errors
    /// ElevenLabs does not answer, or the process stops.
    pub async fn has_agent(&mut self, listed: &Summary) -> Result<bool, PassError> {
        let Some(agent) = &listed.agent else { return Ok(self.config.agents.is_none()) };
        if let Some(agents) = &self.config.agents {
            return Ok(agents.has(agent));
        }
        if let Some(is_ours) = self.agents.get(agent) {
            return Ok(*is_ours);
        }
        let is_ours = self.read_agent(agent).await?;
        self.agents.insert(agent.clone(), is_ours);
        Ok(is_ours)
    }

    /// Reads whether the webhook of `agent` is ours. An agent whose settings cannot be read counts as one without
    /// a webhook of its own.
    async fn read_agent(&mut self, agent: &str) -> Result<bool, PassError> {
        let Some(url) = &self.config.elevenlabs_status_callback_url else { return Ok(true) };
        if self.workspace.is_none() {
            self.workspace = Some(self.read_workspace(url.as_str()).await?);
        }
        let Some(Workspace::Read(workspace)) = &self.workspace else { return Ok(true) };
        let scope = Scope::Agent(agent.to_owned());
        let own = self.read(|| self.api.binding(&scope)).await?.unwrap_or_default();
        Ok(workspace.receiver(&own).is_some_and(|id| workspace.leads_to(id, url.as_str())))
    }

    /// Reads the webhooks and the binding of the workspace.
    async fn read_workspace(&self, url: &str) -> Result<Workspace, PassError> {
        let webhooks = self.read(|| self.api.webhooks()).await?;
        let Some(webhooks) = webhooks.filter(|found| found.iter().any(|webhook| webhook.url == url)) else {
            tracing::warn!(
                "ElevenLabs shows no webhook to ELEVENLABS_STATUS_CALLBACK_URL: reconciliation adds the calls of all agents; AGENTS limits it"
            );
            return Ok(Workspace::Silent);
        };
        let workspace: Option<Binding> = self.read(|| self.api.binding(&Scope::Workspace)).await?;
        Ok(workspace.map_or(Workspace::Silent, |workspace| {
            Workspace::Read(Current { webhooks, workspace, ..Current::default() })
        }))
    }

    /// Sends `request`. `None`: ElevenLabs does not show the object.
    async fn read<T, F>(&self, request: impl Fn() -> F) -> Result<Option<T>, PassError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        match api_retry::request(&self.api.gate, self.stop, request).await {
            Ok(found) => Ok(Some(found)),
            Err(PassError::Api(error)) if error.concerns_one_conversation() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
