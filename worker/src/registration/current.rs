//! The webhooks and bindings as ElevenLabs has them.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::{
    destination::Destination,
    error::{RegisterError, failed},
};
use crate::elevenlabs::{ApiError, Binding, ElevenLabs, Scope, Webhook};

/// Most agents whose bindings are read.
const MAX_AGENTS: usize = 500;
/// Longest time for reading the bindings of agents.
const AGENTS_TIMEOUT: Duration = Duration::from_mins(10);
/// Most pages of the list of agents.
const MAX_PAGES: usize = 20;

/// What ElevenLabs has.
#[derive(Clone, Debug, Default)]
pub struct Current {
    /// The webhooks of the workspace.
    pub webhooks: Vec<Webhook>,
    /// The binding of the workspace.
    pub workspace: Binding,
    /// The agents that have a binding of their own.
    pub agents: Vec<AgentBinding>,
    /// Whether the bindings of some agents are unknown, because there are too many agents, or ElevenLabs
    /// refuses to show them or does not answer any more.
    pub is_incomplete: bool,
}

/// The binding of an agent.
#[derive(Clone, Debug)]
pub struct AgentBinding {
    /// The id of the agent.
    pub id: String,
    /// Its binding.
    pub binding: Binding,
}

/// The agents whose bindings are read.
#[derive(Clone, Copy, Debug)]
pub enum Agents<'a> {
    /// No agents.
    None,
    /// The agent with this id.
    One(&'a str),
    /// All agents.
    All {
        /// Most agents per second, so that ElevenLabs does not limit the rate.
        rate: f64,
    },
}

impl Current {
    /// Reads the webhooks, the binding of the workspace and the bindings of `agents`.
    ///
    /// # Errors
    /// ElevenLabs does not answer, or refuses a request. If this concerns some or all of [`Agents::All`], the
    /// result is incomplete instead.
    pub async fn read(api: &ElevenLabs, agents: Agents<'_>) -> Result<Self, RegisterError> {
        let webhooks = api.webhooks().await.map_err(failed("listing the webhooks"))?;
        let workspace = api.binding(&Scope::Workspace).await;
        let workspace = workspace.map_err(failed("reading the bound events"))?;
        let mut current = Self { webhooks, workspace, agents: Vec::new(), is_incomplete: false };
        match agents {
            Agents::None => {}
            Agents::One(id) => {
                let binding = api.binding(&Scope::Agent(id.to_owned())).await;
                let binding = binding.map_err(failed("reading the bound events of the agent"))?;
                current.agents.push(AgentBinding { id: id.to_owned(), binding });
            }
            Agents::All { rate } => {
                let is_complete = current.read_agents(api, rate).await;
                current.is_incomplete = !is_complete;
            }
        }
        Ok(current)
    }

    /// Reads the bindings of agents for at most [`AGENTS_TIMEOUT`]. Returns whether all are read.
    async fn read_agents(&mut self, api: &ElevenLabs, rate: f64) -> bool {
        let until = Instant::now() + AGENTS_TIMEOUT;
        let Ok((ids, mut is_complete)) = list_agents(api).await else { return false };
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for id in ids {
            if tokio::time::timeout_at(until, ticks.tick()).await.is_err() {
                return false;
            }
            match api.binding(&Scope::Agent(id.clone())).await {
                Ok(binding) if binding == Binding::default() => {}
                Ok(binding) => self.agents.push(AgentBinding { id, binding }),
                Err(ApiError::NotFound) => {} // Deleted since it was listed.
                Err(error) if error.concerns_one_conversation() => is_complete = false,
                Err(_) => return false,
            }
        }
        is_complete
    }

    /// The binding of `scope`. Empty for an agent without one.
    pub fn binding(&self, scope: &Scope) -> Binding {
        match scope {
            Scope::Workspace => self.workspace.clone(),
            Scope::Agent(id) => {
                let agent = self.agents.iter().find(|agent| agent.id == *id);
                agent.map(|agent| agent.binding.clone()).unwrap_or_default()
            }
        }
    }

    /// The webhook with this `url`. If there are several, the webhook of `binding` is preferred, then an
    /// enabled webhook.
    pub fn find_by_url(&self, url: &str, binding: &Binding) -> Option<&Webhook> {
        let mut candidates: Vec<_> = self.webhooks.iter().filter(|webhook| webhook.url == url).collect();
        candidates.sort_by_key(|webhook| {
            let is_bound = binding.webhook_id() == Some(webhook.id.as_str());
            (!is_bound, webhook.is_disabled || webhook.is_auto_disabled)
        });
        candidates.first().copied()
    }

    /// The webhook that receives the events of an agent with the binding `own`: without a webhook of its own, that
    /// of the workspace.
    pub fn receiver<'a>(&'a self, own: &'a Binding) -> Option<&'a str> {
        own.webhook_id().or_else(|| self.workspace.webhook_id())
    }

    /// Whether the webhook `id` sends to `url`.
    pub fn leads_to(&self, id: &str, url: &str) -> bool {
        self.webhooks.iter().any(|webhook| webhook.id == id && webhook.url == url)
    }

    /// The URL of the webhook `id`. It may hold a token.
    pub fn url(&self, id: &str) -> Option<&str> {
        self.webhooks.iter().find(|webhook| webhook.id == id).map(|webhook| webhook.url.as_str())
    }

    /// The webhook `id`, for people.
    pub fn destination(&self, id: &str) -> Destination {
        Destination::new(id, self.webhooks.iter().find(|webhook| webhook.id == id))
    }
}

/// The ids of the agents, and whether they are all.
async fn list_agents(api: &ElevenLabs) -> Result<(Vec<String>, bool), ApiError> {
    let mut ids = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let page = api.agents(cursor.as_deref()).await?;
        ids.extend(page.ids().map(str::to_owned));
        if ids.len() > MAX_AGENTS {
            ids.truncate(MAX_AGENTS);
            return Ok((ids, false));
        }
        match page.next() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok((ids, true)),
        }
    }
    Ok((ids, false))
}
