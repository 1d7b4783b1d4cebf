//! Registers the webhook at ElevenLabs if `REGISTER` is true, and checks at the start and every hour whether
//! it still works.
//!
//! Nothing here ends the worker: without a registration, calls are found by reconciliation.

use std::{fmt::Display, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    Context,
    elevenlabs::ElevenLabs,
    registration::{
        self, Agents, Current, Ensured, SecretFile,
        drift::{self, Finding, Problem},
    },
    store::Lease,
};

/// Interval between two checks.
const INTERVAL: Duration = Duration::from_hours(1);
/// Delay after a check or a registration that failed.
const RETRY_DELAY: Duration = Duration::from_mins(5);
/// Delay while another worker registers the webhook.
const BUSY_DELAY: Duration = Duration::from_secs(2);
/// Duration of the lease for a registration. Longer than a registration can take.
const LEASE: Duration = Duration::from_mins(2);
/// Most findings of one kind that are logged by one check.
const MAX_LOGGED: usize = 20;

/// The state of the registration by this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Registration {
    /// `REGISTER` is not set, or the webhook was registered.
    Done,
    /// Another worker registers at this moment.
    Busy,
    /// The events of the workspace go to another webhook, and the log says so.
    Blocked,
    /// Not tried yet, or ElevenLabs, the database or the file failed.
    Pending,
}

/// Registers and checks the webhook until `stop`. Returns at once if `ELEVENLABS_STATUS_CALLBACK_URL` is not
/// set.
pub async fn run(context: Arc<Context>, api: ElevenLabs, stop: CancellationToken) {
    let Some(url) = context.config.elevenlabs_status_callback_url.clone() else {
        tracing::info!("ELEVENLABS_STATUS_CALLBACK_URL is not set: the webhook at ElevenLabs is not checked");
        return;
    };
    let path = context.config.secret_file.clone().filter(|_| context.config.register);
    let file = path.map(|path| SecretFile { path, setting: "SECRET_FILE", must_be_new: false });
    let mut registration = file.as_ref().map_or(Registration::Done, |_| Registration::Pending);
    while !stop.is_cancelled() {
        if let Some(file) = file.as_ref().filter(|_| registration != Registration::Done) {
            let before = registration;
            registration = register(&context, &api, url.as_str(), file).await;
            if registration == Registration::Busy && before != Registration::Busy {
                tracing::info!("another worker registers the webhook at ElevenLabs: waiting for it");
            }
        }
        let wait = match registration {
            Registration::Busy => BUSY_DELAY,
            _ => match stop.run_until_cancelled(check(&context, &api, url.as_str(), registration)).await {
                Some(true) if registration != Registration::Pending => INTERVAL,
                Some(_) => RETRY_DELAY,
                None => return,
            },
        };
        if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
    }
}

/// Registers the webhook, unless another worker does. A lease in the database makes sure that several workers
/// that start together create one webhook.
async fn register(context: &Context, api: &ElevenLabs, url: &str, file: &SecretFile) -> Registration {
    let owner = format!("{:016x}", rand::random::<u64>());
    match context.store.lease(Lease::Registration, &owner, Timestamp::now(), LEASE).await {
        Ok(true) => {}
        Ok(false) => return Registration::Busy,
        Err(error) => return failed(&error),
    }
    let ensured = registration::ensure(api, url, context.config.elevenlabs_events.names(), file).await;
    if let Err(error) = context.store.end_lease(Lease::Registration, &owner).await {
        tracing::debug!(%error, "the lease for the registration is not returned; it ends by itself");
    }
    match ensured {
        Ok(ensured) => log(&ensured, file),
        Err(error) => failed(&error),
    }
}

/// Logs the failure of a registration.
fn failed(error: &dyn Display) -> Registration {
    tracing::error!(%error, "REGISTER is true, and the webhook at ElevenLabs could not be registered; trying again");
    Registration::Pending
}

/// Logs what was registered.
fn log(ensured: &Ensured, file: &SecretFile) -> Registration {
    match ensured {
        Ensured::Blocked(destination) => {
            tracing::error!(
                webhook = %destination,
                "REGISTER is true, but the workspace at ElevenLabs sends its events to another webhook, which would receive nothing any more; nothing was changed; run `aftercall-worker register --replace`, or `register --agent` for single agents"
            );
            Registration::Blocked
        }
        Ensured::Registered { steps, without_secret } => {
            for step in steps {
                tracing::info!(%step, "registered at ElevenLabs");
            }
            if steps.contains(&registration::Step::Create) {
                tracing::info!(
                    file = %file.path.display(),
                    "SECRET_FILE has the secret of the new webhook; let the gateway read it by ELEVENLABS_WEBHOOK_SECRET_FILE, and send it SIGHUP"
                );
            }
            if let Some(webhook) = without_secret {
                tracing::warn!(
                    webhook,
                    "SECRET_FILE does not exist, and ElevenLabs does not show the secret of an existing webhook, so its events are not bound; if the gateway has the secret in ELEVENLABS_WEBHOOK_SECRET, run `aftercall-worker register`; otherwise `aftercall-worker register --rotate` makes a new one"
                );
            }
            Registration::Done
        }
    }
}

/// Checks the webhook. Returns whether ElevenLabs answered.
async fn check(context: &Context, api: &ElevenLabs, url: &str, registration: Registration) -> bool {
    let agents = Agents::All { rate: context.config.reconcile_rate };
    let current = match Current::read(api, agents).await {
        Ok(current) => current,
        Err(error) => {
            tracing::warn!(%error, "the webhook at ElevenLabs could not be checked");
            return false;
        }
    };
    if current.is_incomplete {
        tracing::warn!(
            "the bindings of some agents are not checked: ElevenLabs does not show them, or there are too many"
        );
    }
    let events = context.config.elevenlabs_events.names();
    let found = drift::findings(&current, url, events, Timestamp::now(), INTERVAL);
    record(context, &found).await;
    for problem in Problem::ALL {
        let of_kind: Vec<_> = found.iter().filter(|finding| finding.problem == problem).collect();
        context.metrics.registration(problem.label(), !of_kind.is_empty());
        // A blocked registration has said so already.
        let is_known =
            registration == Registration::Blocked && matches!(problem, Problem::Missing | Problem::Unbound);
        if !is_known {
            report(problem, &of_kind);
        }
    }
    true
}

/// Keeps the problems for the console.
async fn record(context: &Context, found: &[Finding]) {
    let is_found = |problem: &Problem| found.iter().any(|finding| finding.problem == *problem);
    let labels: Vec<_> = Problem::ALL.into_iter().filter(is_found).map(Problem::label).collect();
    if let Err(error) = context.store.record_registration_problems(&labels, Timestamp::now()).await {
        tracing::warn!(%error, "the console does not learn what the check of the webhook at ElevenLabs found");
    }
}

/// Logs findings of one kind.
fn report(problem: Problem, found: &[&Finding]) {
    let (label, text) = (problem.label(), problem.description());
    for Finding { agent, detail, .. } in found.iter().take(MAX_LOGGED) {
        if problem == Problem::Overridden {
            tracing::warn!(problem = label, agent.id = agent, detail, "{text}");
        } else {
            tracing::error!(problem = label, agent.id = agent, detail, "{text}");
        }
    }
    if found.len() > MAX_LOGGED {
        tracing::warn!(problem = label, agents = found.len(), "more agents have this problem");
    }
}
