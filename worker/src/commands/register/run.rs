//! Creates or finds the webhook, binds its events, and checks the result.

use super::{forward, options::Options, output};
use crate::{
    Config, Context,
    elevenlabs::{ElevenLabs, Scope},
    registration::{Agents, Current, RegisterError, SecretFile, Wanted, apply, plan},
};

/// Registers the webhook to `url`, and prints what was done. `context`: broker and database, for
/// `--forward-displaced`.
pub async fn run(
    elevenlabs: &ElevenLabs,
    url: &str,
    config: &Config,
    options: &Options,
    context: Option<&Context>,
) -> Result<(), RegisterError> {
    let wanted = Wanted {
        scope: options.agent.clone().map_or(Scope::Workspace, Scope::Agent),
        url: url.to_owned(),
        name: options.name.clone(),
        events: if options.events.is_empty() {
            config.elevenlabs_events.names().to_vec()
        } else {
            options.events.clone()
        },
        rotate: options.rotate,
        sets_header: options.header.is_some(),
    };
    let file = file(config, options);
    let all = Agents::All { rate: config.reconcile_rate };
    let current = Current::read(elevenlabs, options.agent.as_deref().map_or(all, Agents::One)).await?;
    if current.is_incomplete {
        eprintln!(
            "The bindings of some agents are not read: ElevenLabs does not show them, or there are too many."
        );
    }
    let plan = plan(&wanted, &current);
    let mut printed =
        output::Printed { options, plan: &plan, file: file.as_ref(), applied: None, forwarded: None };
    if options.dry_run || plan.steps.is_empty() {
        printed.print();
        return Ok(());
    }
    if let Some(displaced) = plan.displaced.clone().filter(|_| !options.replace) {
        return Err(RegisterError::Displaces(displaced));
    }
    let forwarded = match plan.displaced.as_ref().zip(context) {
        Some((displaced, context)) => Some((context, forward::add(context, &current, displaced).await?)),
        None => None,
    };
    let header = options.header.as_ref().map(|(name, value)| (name.as_str(), value.as_str()));
    let applied = apply(elevenlabs, &wanted, &current, &plan, header, file.as_ref()).await;
    let applied = match applied {
        Ok(applied) => applied,
        Err(unfinished) => {
            printed.print_secret(&unfinished.applied);
            if let Some((context, forwarding)) = &forwarded {
                forward::keep_or_undo(context, forwarding, unfinished.applied.may_be_bound).await;
            }
            return Err(unfinished.error);
        }
    };
    printed.applied = Some(&applied);
    printed.forwarded = forwarded.as_ref().map(|(_, forwarding)| &forwarding.endpoint);
    printed.print();
    if let Some(old) = plan.existing.as_ref().filter(|_| options.rotate) {
        eprintln!(
            "The gateway has to accept both secrets (ELEVENLABS_WEBHOOK_SECRET=new,old, or the file of the secrets) \
             until the last webhook of {} has arrived. Then delete that webhook at ElevenLabs.",
            old.id
        );
    }
    Ok(())
}

/// The file for the secret. `--secret-file` must not overwrite a file by mistake; `SECRET_FILE` is Aftercall's
/// own.
fn file(config: &Config, options: &Options) -> Option<SecretFile> {
    let (path, setting, must_be_new) = match &options.secret_file {
        Some(path) => (path, "--secret-file", !options.rotate),
        None => (config.secret_file.as_ref()?, "SECRET_FILE", false),
    };
    Some(SecretFile { path: path.clone(), setting, must_be_new })
}
