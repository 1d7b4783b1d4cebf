//! `aftercall-worker register`: creates or finds the webhook, binds its events, reads back.

use std::path::PathBuf;

use aftercall_common::process::config::Secret;
use reqwest::StatusCode;
use serde_json::json;

use super::secret;
use crate::elevenlabs::{
    ApiError, ElevenLabs, Scope,
    webhook_plan::{self, EVENTS, Step, Wanted},
};

/// What `register` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Bind the events of this agent only [default: of the whole workspace]
    #[arg(long, value_name = "ID", value_parser = agent_id)]
    agent: Option<String>,
    /// Name for a webhook that is made
    #[arg(long, default_value = "Aftercall")]
    name: String,
    /// Events to bind; those that are bound already stay
    #[arg(long, value_delimiter = ',', default_values_t = EVENTS.map(str::to_owned))]
    events: Vec<String>,
    /// Header that the webhooks shall carry, as `Name: value`; see `WEBHOOK_HEADER_SECRET`
    #[arg(long, value_name = "HEADER", value_parser = header)]
    header: Option<(String, String)>,
    /// Write the secret to this file, with mode 0600 [default: print it]
    #[arg(long, value_name = "PATH")]
    secret_file: Option<PathBuf>,
    /// Make a new webhook with a new secret, even though there is one
    #[arg(long)]
    rotate: bool,
    /// Show what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

/// An agent's id goes into a path.
fn agent_id(text: &str) -> Result<String, &'static str> {
    let fits = (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if fits { Ok(text.to_owned()) } else { Err("must be letters, digits, '_' or '-'") }
}

fn header(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once(':').ok_or("must be of the form 'Name: value'")?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || value.is_empty() {
        return Err("must be of the form 'Name: value'");
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Why the webhook is not as it should be. One line each.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Something is not configured.
    #[error("{0}")]
    Unconfigured(&'static str),
    /// ElevenLabs refuses.
    #[error("{what}: {}", explain(.error))]
    Api {
        /// What was asked for.
        what: &'static str,
        /// How it was refused.
        error: ApiError,
    },
    /// The file for the secret cannot be written.
    #[error("--secret-file: {0}")]
    Secret(String),
    /// What was changed does not read back.
    #[error("changed, but it does not read back: still to do: {0}")]
    NotThere(String),
}

fn explain(error: &ApiError) -> String {
    match error {
        ApiError::Unauthorized(status)
        | ApiError::Refused(status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) => {
            format!(
                "ElevenLabs refuses this to the API key ({status}); it needs the rights webhooks_write and convai_write, of an admin"
            )
        }
        ApiError::NotFound => "ElevenLabs does not know it; is the agent's id right?".to_owned(),
        error => error.to_string(),
    }
}

fn api(what: &'static str) -> impl Fn(ApiError) -> RegisterError {
    move |error| RegisterError::Api { what, error }
}

/// Does what `options` say for the webhook to `url`; prints what was done.
pub async fn run(elevenlabs: &ElevenLabs, url: &str, options: &Options) -> Result<(), RegisterError> {
    let scope = options.agent.clone().map_or(Scope::Workspace, Scope::Agent);
    let wanted = Wanted {
        url: url.to_owned(),
        name: options.name.clone(),
        events: options.events.clone(),
        rotate: options.rotate,
        sets_header: options.header.is_some(),
    };
    let webhooks = elevenlabs.webhooks().await.map_err(api("listing the webhooks"))?;
    let binding = elevenlabs.binding(&scope).await.map_err(api("reading what is bound"))?;
    let steps = webhook_plan::plan(&wanted, &webhooks, &binding);
    let existing = webhook_plan::find_by_url(&webhooks, url, &binding);
    if options.dry_run || steps.is_empty() {
        report(options, &steps, None, existing.map(|webhook| webhook.id.as_str()));
        return Ok(());
    }
    if let Some(path) = options.secret_file.as_ref().filter(|_| steps.contains(&Step::Create)) {
        secret::check(path, options.rotate).map_err(RegisterError::Secret)?;
    }

    let header = options.header.as_ref().map(|(name, value)| (name.as_str(), value.as_str()));
    let (mut id, mut told) = (existing.filter(|_| !options.rotate).map(|webhook| webhook.id.clone()), None);
    for step in &steps {
        match step {
            Step::Create => {
                let made = elevenlabs.create_webhook(&wanted.name, url, header).await;
                let made = made.map_err(api("creating the webhook"))?;
                // At once: it is never told again.
                if let Some(secret) = made.secret {
                    keep(&secret, options)?;
                    told = Some(secret);
                }
                id = Some(made.id);
            }
            Step::Enable { .. } => {
                let id = id.as_deref().unwrap_or_default();
                let name =
                    existing.filter(|webhook| webhook.id == id).map_or(&wanted.name, |webhook| &webhook.name);
                elevenlabs.enable_webhook(id, name, header).await.map_err(api("changing the webhook"))?;
            }
            Step::Bind { .. } => {
                let bound = webhook_plan::bound(&wanted, &binding, id.as_deref().unwrap_or_default());
                elevenlabs.bind(&scope, &bound).await.map_err(api("binding the events"))?;
            }
        }
    }
    read_back(elevenlabs, &scope, Wanted { rotate: false, sets_header: false, ..wanted }, id.as_deref())
        .await?;
    report(options, &steps, told.as_ref(), id.as_deref());
    if let Some(old) = existing.filter(|_| options.rotate) {
        eprintln!(
            "The gateway has to accept both secrets (ELEVENLABS_WEBHOOK_SECRET=new,old) until the last webhook of \
             {} has come; then delete it at ElevenLabs.",
            old.id
        );
    }
    Ok(())
}

/// Writes the secret to its file, if there is to be one.
fn keep(secret: &Secret, options: &Options) -> Result<(), RegisterError> {
    let Some(path) = &options.secret_file else { return Ok(()) };
    secret::write(path, secret).map_err(|error| {
        // Rather in a terminal than lost.
        println!("{}", secret.expose());
        RegisterError::Secret(format!(
            "cannot write {}: {error}; the secret is printed instead",
            path.display()
        ))
    })
}

/// Whether all is as it should be by now.
async fn read_back(
    elevenlabs: &ElevenLabs,
    scope: &Scope,
    wanted: Wanted,
    id: Option<&str>,
) -> Result<(), RegisterError> {
    let webhooks = elevenlabs.webhooks().await.map_err(api("reading back"))?;
    let binding = elevenlabs.binding(scope).await.map_err(api("reading back"))?;
    let mine: Vec<_> = webhooks.into_iter().filter(|webhook| Some(webhook.id.as_str()) == id).collect();
    let left = webhook_plan::plan(&wanted, &mine, &binding);
    // Not every account is told whether retries are on.
    let silent = mine.iter().any(|webhook| webhook.retry_enabled.is_none());
    let left: Vec<_> = left
        .iter()
        .filter(|step| !(silent && matches!(step, Step::Enable { why: "retries on", .. })))
        .map(ToString::to_string)
        .collect();
    if left.is_empty() { Ok(()) } else { Err(RegisterError::NotThere(left.join("; "))) }
}

fn report(options: &Options, steps: &[Step], secret: Option<&Secret>, id: Option<&str>) {
    let shown = secret.filter(|_| options.secret_file.is_none()).map(Secret::expose);
    let steps: Vec<_> = steps.iter().map(ToString::to_string).collect();
    if options.json {
        let outcome = json!({
            "webhookId": id, "changed": !options.dry_run && !steps.is_empty(), "steps": steps, "secret": shown,
        });
        println!("{outcome}");
        return;
    }
    if steps.is_empty() {
        println!("nothing to change: webhook {} is registered, bound and on", id.unwrap_or_default());
    }
    for step in steps {
        println!("{} {step}", if options.dry_run { "would" } else { "done:" });
    }
    if let Some(secret) = shown {
        println!("ELEVENLABS_WEBHOOK_SECRET={secret}");
    }
    if let Some(path) = options.secret_file.as_ref().filter(|_| secret.is_some()) {
        println!("the secret is in {}", path.display());
    }
}
