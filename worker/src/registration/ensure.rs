//! Registers the webhook without an operator: for `REGISTER=true`.

use std::time::Duration;

use super::{
    apply::apply,
    current::{Agents, Current},
    destination::Destination,
    error::RegisterError,
    plan::{Step, Wanted, plan},
    secret_file::SecretFile,
};
use crate::elevenlabs::{ElevenLabs, Scope};

/// The name of a new webhook.
pub const NAME: &str = "Aftercall";
/// Longest time for reading what is registered. The steps after it have the limits of single requests, and
/// are not interrupted, because a new webhook must not lose its secret.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// Everything was as it should be, or the steps were done.
    Registered {
        /// The steps that were done.
        steps: Vec<Step>,
        /// The id of a webhook that existed before, if the file does not exist. Its events are then not bound, because
        /// nobody may have its secret. The content of the file is not checked.
        without_secret: Option<String>,
    },
    /// Nothing was changed, because the events of the workspace go to this webhook.
    Blocked(Destination),
}

/// Registers the webhook to `url` with `events` for the whole workspace, if it is not registered, and saves the
/// secret of a new webhook in `file`.
///
/// # Errors
/// ElevenLabs does not answer or refuses, or the file cannot be written.
pub async fn ensure(
    api: &ElevenLabs,
    url: &str,
    events: &[String],
    file: &SecretFile,
) -> Result<Ensured, RegisterError> {
    let wanted = Wanted {
        scope: Scope::Workspace,
        url: url.to_owned(),
        name: NAME.to_owned(),
        events: events.to_vec(),
        rotate: false,
        sets_header: false,
    };
    let read = tokio::time::timeout(READ_TIMEOUT, Current::read(api, Agents::None)).await;
    let current = read.map_err(|_elapsed| RegisterError::TimedOut)??;
    let plan = plan(&wanted, &current);
    if let Some(displaced) = &plan.displaced {
        return Ok(Ensured::Blocked(displaced.clone()));
    }
    let without_secret = plan.existing.as_ref().filter(|_| !file.exists()).map(|webhook| webhook.id.clone());
    let binds = plan.steps.iter().any(|step| matches!(step, Step::Bind { .. }));
    if without_secret.is_some() && binds {
        return Ok(Ensured::Registered { steps: Vec::new(), without_secret });
    }
    if !plan.steps.is_empty() {
        apply(api, &wanted, &current, &plan, None, Some(file))
            .await
            .map_err(|unfinished| unfinished.error)?;
    }
    Ok(Ensured::Registered { steps: plan.steps, without_secret })
}
