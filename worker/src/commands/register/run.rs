//! Creates or finds the webhook, binds its events, and checks the result.

use aftercall_common::process::config::Secret;

use super::{
    error::{RegisterError, failed},
    options::Options,
    output, secret_file,
};
use crate::elevenlabs::{
    ElevenLabs, Scope,
    webhook_plan::{self, Step, Wanted},
};

/// Registers the webhook to `url`, and prints what was done.
pub async fn run(elevenlabs: &ElevenLabs, url: &str, options: &Options) -> Result<(), RegisterError> {
    let scope = options.agent.clone().map_or(Scope::Workspace, Scope::Agent);
    let wanted = Wanted {
        url: url.to_owned(),
        name: options.name.clone(),
        events: options.events.clone(),
        rotate: options.rotate,
        sets_header: options.header.is_some(),
    };
    let webhooks = elevenlabs.webhooks().await.map_err(failed("listing the webhooks"))?;
    let binding = elevenlabs.binding(&scope).await.map_err(failed("reading the bound events"))?;
    let steps = webhook_plan::plan(&wanted, &webhooks, &binding);
    let existing = webhook_plan::find_by_url(&webhooks, url, &binding);
    if options.dry_run || steps.is_empty() {
        output::print(options, &steps, None, existing.map(|webhook| webhook.id.as_str()));
        return Ok(());
    }
    if let Some(path) = options.secret_file.as_ref().filter(|_| steps.contains(&Step::Create)) {
        secret_file::check(path, options.rotate).map_err(RegisterError::Secret)?;
    }

    let header = options.header.as_ref().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut id = existing.filter(|_| !options.rotate).map(|webhook| webhook.id.clone());
    let mut secret = None;
    for step in &steps {
        match step {
            Step::Create => {
                let created = elevenlabs.create_webhook(&wanted.name, url, header).await;
                let created = created.map_err(failed("creating the webhook"))?;
                // The secret is saved at once, because ElevenLabs returns it only here.
                id = Some(created.id);
                if let Some(value) = created.secret {
                    save_secret(&value, options)?;
                    secret = Some(value);
                }
            }
            Step::Enable { .. } => {
                let id = id.as_deref().unwrap_or_default();
                let name =
                    existing.filter(|webhook| webhook.id == id).map_or(&wanted.name, |webhook| &webhook.name);
                elevenlabs.enable_webhook(id, name, header).await.map_err(failed("changing the webhook"))?;
            }
            Step::Bind { .. } => {
                let bound = webhook_plan::bound(&wanted, &binding, id.as_deref().unwrap_or_default());
                elevenlabs.bind(&scope, &bound).await.map_err(failed("binding the events"))?;
            }
        }
    }
    verify(elevenlabs, &scope, Wanted { rotate: false, sets_header: false, ..wanted }, id.as_deref()).await?;
    output::print(options, &steps, secret.as_ref(), id.as_deref());
    if let Some(old) = existing.filter(|_| options.rotate) {
        eprintln!(
            "The gateway has to accept both secrets (ELEVENLABS_WEBHOOK_SECRET=new,old) until the last webhook of \
             {} has arrived. Then delete that webhook at ElevenLabs.",
            old.id
        );
    }
    Ok(())
}

/// Writes the secret to the file that the options name.
fn save_secret(secret: &Secret, options: &Options) -> Result<(), RegisterError> {
    let Some(path) = &options.secret_file else { return Ok(()) };
    secret_file::write(path, secret).map_err(|error| {
        // The secret is printed, because ElevenLabs does not return it again.
        println!("{}", secret.expose());
        RegisterError::Secret(format!(
            "cannot write {}: {error}; the secret is printed instead",
            path.display()
        ))
    })
}

/// Reads the webhook again and checks that no step is left.
async fn verify(
    elevenlabs: &ElevenLabs,
    scope: &Scope,
    wanted: Wanted,
    id: Option<&str>,
) -> Result<(), RegisterError> {
    let webhooks = elevenlabs.webhooks().await.map_err(failed("reading the changes back"))?;
    let binding = elevenlabs.binding(scope).await.map_err(failed("reading the changes back"))?;
    let registered: Vec<_> = webhooks.into_iter().filter(|webhook| Some(webhook.id.as_str()) == id).collect();
    let left = webhook_plan::plan(&wanted, &registered, &binding);
    // ElevenLabs does not tell every account whether retries are enabled.
    let is_unknown = registered.iter().any(|webhook| webhook.retry_enabled.is_none());
    let left: Vec<_> = left
        .iter()
        .filter(|step| !(is_unknown && matches!(step, Step::Enable { why: "retries on", .. })))
        .map(ToString::to_string)
        .collect();
    if left.is_empty() { Ok(()) } else { Err(RegisterError::NotApplied(left.join("; "))) }
}
