//! Executes a plan at ElevenLabs, and checks the result.

use aftercall_common::process::config::Secret;

use super::{
    current::{Agents, Current},
    error::{RegisterError, failed},
    plan::{Plan, Step, Wanted, plan},
    secret_file::SecretFile,
};
use crate::elevenlabs::{ElevenLabs, NewWebhook, Scope};

/// A header that ElevenLabs adds to webhooks: name and value.
pub type Header<'a> = (&'a str, &'a str);

/// The webhook of a plan.
pub struct Applied {
    /// The id of the webhook. Empty if the plan did not get as far as to create it.
    pub id: String,
    /// The secret of the webhook, if it is new.
    pub secret: Option<Secret>,
    /// Whether ElevenLabs may have bound the events: the request was sent.
    pub may_be_bound: bool,
}

/// A plan whose execution ended with an error. Steps before the error stay done.
pub struct Unfinished {
    /// What was done. A secret in it must not get lost, because ElevenLabs does not show it again.
    pub applied: Applied,
    /// The error.
    pub error: RegisterError,
}

/// Executes the steps of `plan`. The secret of a new webhook is saved in `file` before the webhook is used.
///
/// # Errors
/// A step fails, or its effect does not show.
pub async fn apply(
    api: &ElevenLabs,
    wanted: &Wanted,
    current: &Current,
    plan: &Plan,
    header: Option<Header<'_>>,
    file: Option<&SecretFile>,
) -> Result<Applied, Unfinished> {
    let kept = plan.existing.as_ref().filter(|_| !wanted.rotate);
    let id = kept.map(|webhook| webhook.id.clone()).unwrap_or_default();
    let mut applied = Applied { id, secret: None, may_be_bound: false };
    let executed = async {
        if let Some(file) = file.filter(|_| plan.steps.contains(&Step::Create)) {
            file.check()?;
        }
        for step in &plan.steps {
            match step {
                Step::Create => {
                    let created = create(api, wanted, header, file).await?;
                    (applied.id, applied.secret) = (created.id, created.secret);
                }
                Step::Enable { .. } => {
                    let name = kept.map_or(&wanted.name, |webhook| &webhook.name);
                    api.enable_webhook(&applied.id, name, header)
                        .await
                        .map_err(failed("changing the webhook"))?;
                }
                Step::Bind { .. } => {
                    let bound = current.binding(&wanted.scope).bound_to(&applied.id, &wanted.events);
                    applied.may_be_bound = true;
                    api.bind(&wanted.scope, &bound).await.map_err(failed("binding the events"))?;
                }
            }
        }
        verify(api, wanted, &applied.id).await
    };
    match executed.await {
        Ok(()) => Ok(applied),
        Err(error) => Err(Unfinished { applied, error }),
    }
}

/// Creates the webhook and saves its secret at once, because ElevenLabs returns the secret only here. If the
/// secret cannot be saved, the webhook is deleted again, because nobody could check its signatures.
async fn create(
    api: &ElevenLabs,
    wanted: &Wanted,
    header: Option<Header<'_>>,
    file: Option<&SecretFile>,
) -> Result<NewWebhook, RegisterError> {
    let created = api.create_webhook(&wanted.name, &wanted.url, header).await;
    let created = created.map_err(failed("creating the webhook"))?;
    if let Some((secret, file)) = created.secret.as_ref().zip(file)
        && let Err(error) = file.save(secret)
    {
        let deleted = api.delete_webhook(&created.id).await;
        deleted.map_err(failed("deleting the new webhook, whose secret is lost"))?;
        return Err(error);
    }
    Ok(created)
}

/// Reads the webhook `id` again and checks that no step is left.
async fn verify(api: &ElevenLabs, wanted: &Wanted, id: &str) -> Result<(), RegisterError> {
    let agents = match &wanted.scope {
        Scope::Workspace => Agents::None,
        Scope::Agent(agent) => Agents::One(agent),
    };
    let mut current = Current::read(api, agents).await?;
    current.webhooks.retain(|webhook| webhook.id == id);
    let left = remaining(&Wanted { rotate: false, sets_header: false, ..wanted.clone() }, &current);
    let left: Vec<_> = left.iter().map(ToString::to_string).collect();
    if left.is_empty() { Ok(()) } else { Err(RegisterError::NotApplied(left.join("; "))) }
}

/// The steps that are left, without those whose effect ElevenLabs does not show. It does not tell every
/// account whether retries are enabled, and it may leave out a format that is its default (guessed).
fn remaining(wanted: &Wanted, current: &Current) -> Vec<Step> {
    let binding = current.binding(&wanted.scope);
    let mut steps = plan(wanted, current).steps;
    steps.retain(|step| match step {
        Step::Create => true,
        Step::Enable { why, .. } => {
            *why != "retries on" || current.webhooks.iter().all(|webhook| webhook.retry_enabled.is_some())
        }
        Step::Bind { id, .. } => {
            binding.transcript_format().is_some()
                || binding.webhook_id() != id.as_deref()
                || !binding.missing_events(&wanted.events).is_empty()
        }
    });
    steps
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{config::EVENTS, elevenlabs::Binding};

    #[test]
    fn only_an_effect_that_elevenlabs_never_shows_may_be_missing() {
        let wanted = Wanted {
            scope: Scope::Workspace,
            url: "https://hooks.example.com/x".to_owned(),
            name: "n".to_owned(),
            events: EVENTS.map(str::to_owned).to_vec(),
            rotate: false,
            sets_header: false,
        };
        let left = |retries: Value, binding: Value| {
            let webhook = json!({ "webhook_id": "a", "webhook_url": wanted.url, "retry_enabled": retries });
            let current = Current {
                webhooks: vec![serde_json::from_value(webhook).unwrap()],
                workspace: Binding::new(&binding),
                ..Current::default()
            };
            remaining(&wanted, &current).len()
        };
        let on = json!(true);
        #[rustfmt::skip]
        let table = [
            (on.clone(),   json!({ "post_call_webhook_id": "a", "events": EVENTS, "transcript_format": "json" }), 0),
            (Value::Null,  json!({ "post_call_webhook_id": "a", "events": EVENTS, "transcript_format": "json" }), 0),
            (json!(false), json!({ "post_call_webhook_id": "a", "events": EVENTS, "transcript_format": "json" }), 1),
            (on.clone(),   json!({ "post_call_webhook_id": "a", "events": EVENTS }), 0),
            (on.clone(),   json!({ "post_call_webhook_id": "a", "events": EVENTS, "transcript_format": "opentelemetry" }), 1),
            (on.clone(),   json!({ "post_call_webhook_id": "a", "events": ["transcript"] }), 1),
            (on,           json!({ "post_call_webhook_id": "b", "events": EVENTS }), 1),
        ];
        for (retries, binding, expected) in table {
            assert_eq!(left(retries.clone(), binding.clone()), expected, "{retries} {binding}");
        }
    }
}
