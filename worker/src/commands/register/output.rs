//! Prints the result of `register`.

use aftercall_common::process::config::Secret;
use serde_json::json;

use super::options::Options;
use crate::{
    domain::delivery::EndpointId,
    registration::{Applied, Destination, Plan, SecretFile},
};

/// What is printed: the steps that were done, or would be done in a dry run, and what they mean for others.
pub(super) struct Printed<'a> {
    pub options: &'a Options,
    pub plan: &'a Plan,
    pub file: Option<&'a SecretFile>,
    /// The result of the steps. `None`: no step was done.
    pub applied: Option<&'a Applied>,
    /// The endpoint that gets the webhooks in place of the displaced webhook.
    pub forwarded: Option<&'a EndpointId>,
}

impl Printed<'_> {
    /// Prints. The secret is printed unless it is in a file.
    pub(super) fn print(&self) {
        let existing = self.plan.existing.as_ref().map(|webhook| webhook.id.as_str());
        let id = self.applied.map(|applied| applied.id.as_str()).or(existing);
        let secret = self.applied.and_then(|applied| applied.secret.as_ref());
        let shown = secret.filter(|_| self.file.is_none()).map(Secret::expose);
        if self.options.json {
            self.print_json(id, shown);
        } else {
            self.print_text(id, shown);
        }
        if let Some(file) = self.file.filter(|_| secret.is_some() && !self.options.json) {
            println!("the secret is in {}", file.path.display());
        }
    }

    /// Prints the secret of a webhook that was created before a later step failed. The next `register` uses this
    /// webhook, and cannot show its secret.
    pub(super) fn print_secret(&self, applied: &Applied) {
        let Some(secret) = applied.secret.as_ref().filter(|_| self.file.is_none()).map(Secret::expose) else {
            return;
        };
        if self.options.json {
            println!("{}", json!({ "webhookId": applied.id, "secret": secret }));
        } else {
            println!("created: webhook {}; the steps after it are not done", applied.id);
            println!("ELEVENLABS_WEBHOOK_SECRET={secret}");
        }
    }

    fn print_json(&self, id: Option<&str>, secret: Option<&str>) {
        let destination = |webhook: &Destination| json!({ "webhookId": webhook.id, "name": webhook.name, "host": webhook.host });
        let steps: Vec<_> = self.plan.steps.iter().map(ToString::to_string).collect();
        let overrides = self.plan.overrides.iter();
        let overrides: Vec<_> = overrides
            .map(|own| json!({ "agentId": own.agent, "webhook": destination(&own.destination) }))
            .collect();
        let outcome = json!({
            "webhookId": id, "changed": self.applied.is_some(), "steps": steps, "secret": secret,
            "displaced": self.plan.displaced.as_ref().map(destination), "overrides": overrides,
            "forwardedBy": self.forwarded.map(EndpointId::as_str),
        });
        println!("{outcome}");
    }

    fn print_text(&self, id: Option<&str>, secret: Option<&str>) {
        if self.plan.steps.is_empty() {
            println!(
                "nothing to change: webhook {} is registered, bound and enabled",
                id.unwrap_or_default()
            );
        }
        for step in &self.plan.steps {
            println!("{} {step}", if self.options.dry_run { "would" } else { "done:" });
        }
        if let Some(displaced) = &self.plan.displaced {
            if let Some(endpoint) = self.forwarded {
                println!(
                    "displaced: the webhook {displaced}; endpoint {endpoint} forwards all webhooks to it, signed by \
                     the secret of the new webhook"
                );
            } else if self.options.dry_run {
                let forwards = self.options.forward_displaced;
                let effect = match (forwards, &self.options.agent) {
                    (true, _) => "an endpoint would forward all webhooks to it",
                    (false, None) => "it would receive nothing any more",
                    (false, Some(_)) => "it would not receive the events of this agent any more",
                };
                let needed = if self.options.replace { "" } else { "; this needs --replace" };
                println!("would displace the webhook {displaced}: {effect}{needed}");
            } else {
                let lost = if self.options.agent.is_some() {
                    "the events of this agent no longer"
                } else {
                    "nothing any more"
                };
                println!("displaced: the webhook {displaced} receives {lost}");
            }
        }
        for own in &self.plan.overrides {
            println!(
                "not bound: agent {} sends its events to the webhook {}; `register --agent {}` changes that",
                own.agent, own.destination, own.agent
            );
        }
        if let Some(secret) = secret {
            println!("ELEVENLABS_WEBHOOK_SECRET={secret}");
        } else if self.applied.is_some() && self.plan.existing.is_some() {
            eprintln!(
                "The webhook existed before, and ElevenLabs does not show its secret. If the gateway does not have it, \
                 run `register --rotate`."
            );
        }
    }
}
