//! One pass over a window of conversations.
//!
//! Invariants: a pass that ends without an error has seen every conversation of its window; what it
//! published is stored before it goes on, so a pass that breaks off can be repeated.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{
    policy::{self, Synthetic},
    publish::publish,
};
use crate::{
    Context,
    domain::{
        event::{ConversationId, PlacementId},
        reconciliation::{Finding, Reason, Report, StoredConversation, Unusable},
        time::after,
    },
    elevenlabs::{ApiError, ElevenLabs, Summary},
    retry::Pauses,
    roles::api::DIALLING,
    store::{CallView, PlacementResult, StoreError},
};

/// Placements looked after in one pass.
const MOST: i64 = 1000;
/// Silent calls asked for in one pass.
const SILENT: i64 = 200;
/// How long an API that is away is waited for in the middle of a pass.
const AWAY_FIRST: Duration = Duration::from_millis(500);
const AWAY_MOST: Duration = Duration::from_secs(30);
const AWAY_TOTAL: Duration = Duration::from_mins(5);
/// Calls silent for longer than this are not asked for any more.
const SILENT_MOST: Duration = Duration::from_hours(7 * 24);
/// A placement that no conversation of its time bears is given up after this.
const PLACEMENT_GIVE_UP: Duration = Duration::from_mins(15);
/// Clocks, and the second ElevenLabs rounds a begin to.
const SKEW: Duration = Duration::from_mins(1);

/// What a pass covers.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Conversations that began from here
    pub since: Timestamp,
    /// to here.
    pub until: Timestamp,
    /// Detail requests per second.
    pub rate: f64,
    /// Publishes nothing, changes nothing.
    pub dry_run: bool,
}

/// Why a pass broke off.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// ElevenLabs gave no answer that can be used.
    #[error("ElevenLabs: {0}")]
    Api(#[from] ApiError),
    /// MongoDB is away.
    #[error("MongoDB: {0}")]
    Store(#[from] StoreError),
    /// The broker is away.
    #[error("NATS: {0}")]
    Broker(String),
    /// Another worker makes it: we took longer than we may between two signs of life.
    #[error("another worker took over")]
    LeaseLost,
    /// The process stops.
    #[error("stopped")]
    Stopped,
}

/// A pass under way.
struct Pass<'a> {
    context: &'a Context,
    api: &'a ElevenLabs,
    window: Window,
    ticks: Interval,
    stop: &'a CancellationToken,
    /// Placements still looked for.
    open: BTreeMap<PlacementId, CallView>,
    report: Report,
}

/// Makes a pass over `window`; `progress` hears what has been seen so far.
pub async fn pass(
    context: &Context,
    api: &ElevenLabs,
    window: Window,
    stop: &CancellationToken,
    progress: impl Fn(&Report) + Send,
) -> Result<Report, PassError> {
    let open = context.store.unresolved_placements(window.until, MOST).await?;
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / window.rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let open = open.into_iter().filter_map(|call| Some((call.placement_id()?, call))).collect();
    let mut pass = Pass { context, api, window, ticks, stop, open, report: Report::default() };
    pass.close_linked().await?;

    let (mut cursor, mut seen) = (None, HashSet::new());
    loop {
        let page = pass.ask(|| api.list(window.since, window.until, cursor.as_deref())).await?;
        let ids: Vec<_> = page.conversations.iter().map(|listed| &listed.id).collect();
        let known = context.store.known(&ids).await?;
        for listed in &page.conversations {
            pass.report.seen += 1;
            seen.insert(listed.id.clone());
            let here = known.get(&listed.id);
            if let Some(reason) = policy::decide(listed, here, pass.placed_since()) {
                pass.look(&listed.id, reason, here, Some(listed)).await?;
            }
            progress(&pass.report);
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let silent = window.until.saturating_sub(context.config.status_stale_after).unwrap_or(window.until);
    let oldest = window.until.saturating_sub(SILENT_MOST).unwrap_or(Timestamp::MIN);
    for id in context.store.unfinished(oldest, silent, SILENT).await? {
        if !seen.contains(&id) {
            pass.look(&id, Reason::Unfinished, None, None).await?;
            progress(&pass.report);
        }
    }
    pass.give_up().await?;
    Ok(pass.report)
}

impl Pass<'_> {
    /// When the oldest placement began that is looked for.
    fn placed_since(&self) -> Option<Timestamp> {
        let began = self.open.values().filter_map(|call| Some(call.placement()?.at)).min()?;
        began.saturating_sub(SKEW).ok()
    }

    /// Placements whose call has become known by other means.
    async fn close_linked(&mut self) -> Result<(), PassError> {
        let linked: Vec<_> = self
            .open
            .iter()
            .filter(|(_, call)| call.conversation_id().is_some())
            .map(|(id, _)| id.clone())
            .collect();
        for id in linked {
            self.open.remove(&id);
            if !self.window.dry_run {
                self.context.store.conclude_placement(&id, PlacementResult::Placed, Timestamp::now()).await?;
            }
        }
        Ok(())
    }

    /// Fetches a conversation and publishes the event it should have had.
    async fn look(
        &mut self,
        id: &ConversationId,
        reason: Reason,
        here: Option<&StoredConversation>,
        listed: Option<&Summary>,
    ) -> Result<(), PassError> {
        if self.stop.run_until_cancelled(self.ticks.tick()).await.is_none() {
            return Err(PassError::Stopped);
        }
        let (api, found_for) = (self.api, reason);
        let whole = match self.ask(|| api.whole_conversation(id)).await {
            Ok(whole) => whole,
            // Gone: no pass will ever learn more.
            Err(PassError::Api(ApiError::NotFound)) => {
                tracing::debug!(conversation_id = id.as_str(), "ElevenLabs does not give this conversation");
                return Ok(());
            }
            Err(PassError::Api(error)) if error.concerns_one_conversation() => {
                let (conversation_id, reason) = (id.as_str(), reason.as_str());
                tracing::warn!(conversation_id, reason, %error, "this conversation cannot be reconciled");
                self.report.unusable.push(Unusable {
                    conversation: id.clone(),
                    reason: found_for,
                    error: error.label(),
                });
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let placement = policy::placement_of(&whole).and_then(|id| self.open.remove(&id));
        if reason == Reason::Placement && placement.is_none() {
            return Ok(());
        }
        let began = listed.and_then(|listed| listed.began);
        let Some(event) = policy::synthesize(id, whole, began) else { return Ok(()) };
        self.publish(id, &event, placement.as_ref()).await?;
        let here = here.and_then(|known| known.status);
        self.report.findings.push(Finding {
            conversation: id.clone(),
            reason,
            here,
            there: listed.and_then(|listed| listed.status),
            event: event.kind,
        });
        Ok(())
    }

    async fn publish(
        &self,
        id: &ConversationId,
        event: &Synthetic,
        placement: Option<&CallView>,
    ) -> Result<(), PassError> {
        if self.window.dry_run {
            return Ok(());
        }
        let published = publish(self.context, id, event).await;
        published.map_err(|error| PassError::Broker(error.to_string()))?;
        if let Some(placement) = placement.and_then(CallView::placement_id) {
            self.context
                .store
                .conclude_placement(&placement, PlacementResult::Placed, Timestamp::now())
                .await?;
        }
        Ok(())
    }

    /// Gives up the placements that no conversation of their time bears.
    async fn give_up(&mut self) -> Result<(), PassError> {
        for (id, call) in &self.open {
            let Some(placing) = call.placement() else { continue };
            // What lies behind every window to come cannot be found any more.
            let too_old = self.window.until >= after(placing.at, SILENT_MOST);
            let covered = placing.at >= self.window.since || too_old;
            let waited = self.window.until >= after(placing.at, PLACEMENT_GIVE_UP.max(DIALLING));
            if covered && waited {
                self.report.given_up += 1;
                if !self.window.dry_run {
                    self.context.store.give_up_placement(id, Timestamp::now()).await?;
                    tracing::warn!(placement_id = id.as_str(), "ElevenLabs knows no call of this placement");
                }
            }
        }
        Ok(())
    }

    /// Asks as soon as the API takes requests, and again where it asks for quiet or is away for a
    /// while: what has been seen is not to be seen again.
    async fn ask<T, F>(&self, question: impl Fn() -> F) -> Result<T, PassError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        let mut pauses = Pauses::within(AWAY_FIRST, AWAY_MOST, AWAY_TOTAL);
        loop {
            if !self.api.gate.opened(self.stop).await {
                return Err(PassError::Stopped);
            }
            let Some(answer) = self.stop.run_until_cancelled(question()).await else {
                return Err(PassError::Stopped);
            };
            match answer {
                Err(ApiError::RateLimited { .. }) => {} // The gate is closed now, and says for how long.
                Err(error @ ApiError::Unavailable(_)) => {
                    let Some(pause) = pauses.pause() else { return Err(error.into()) };
                    if self.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                        return Err(PassError::Stopped);
                    }
                }
                answer => return Ok(answer?),
            }
        }
    }
}
