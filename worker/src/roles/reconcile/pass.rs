//! One pass over a window of conversations.
//!
//! Invariants:
//! - A pass that ends without an error has checked every conversation of its window, or has reported the
//!   conversation as unusable.
//! - Each event is stored before the pass continues, so a pass that failed can be repeated.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{
    api_retry, error::PassError, ownership::Ownership, placements::OpenPlacements, policy, publish::publish,
    window::Window,
};
use crate::{
    Context,
    domain::{
        call::{is_too_long, unconcluded},
        conversation::{Conversation, MissingWebhook, missing_webhook, observe, placement_of},
        event::{self, ConversationId, TRANSCRIPTION},
        reconciliation::{Finding, Reason, Report, StoredConversation, Unusable},
    },
    elevenlabs::{ApiError, ConversationStatus, ElevenLabs, Summary},
    store::{self, CallView, PlacementResult},
};

/// Most unfinished calls that one pass fetches although they are not in its window.
const MAX_UNFINISHED: i64 = 200;
/// An unfinished call whose latest update is older than this is not fetched.
const MAX_SILENCE: Duration = Duration::from_hours(7 * 24);

/// What ElevenLabs says about the end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The conversation is over. Its event is published.
    Over,
    /// The conversation goes on, or ElevenLabs does not know it.
    Open,
    /// The answer cannot be used.
    Unusable,
}

/// A pass in progress.
struct Pass<'a> {
    context: &'a Context,
    api: &'a ElevenLabs,
    window: Window,
    /// Limits the requests for single conversations to the rate of the window.
    ticks: Interval,
    stop: &'a CancellationToken,
    placements: OpenPlacements<'a>,
    ownership: Ownership<'a>,
    report: Report,
}

/// Runs a pass over `window`. Calls `progress` with the report so far, after each conversation.
///
/// # Errors
/// ElevenLabs, MongoDB or NATS does not answer, or the process stops.
pub async fn pass(
    context: &Context,
    api: &ElevenLabs,
    window: Window,
    stop: &CancellationToken,
    progress: impl Fn(&Report) + Send,
) -> Result<Report, PassError> {
    let placements = OpenPlacements::load(&context.store, window).await?;
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / window.rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ownership = Ownership::new(&context.config, api, stop);
    let report = Report::default();
    let mut pass = Pass { context, api, window, ticks, stop, placements, ownership, report };
    let listed = pass.check_listed(&progress).await?;
    pass.check_unfinished(&listed, &progress).await?;
    pass.report.given_up = pass.placements.give_up().await?;
    Ok(pass.report)
}

impl Pass<'_> {
    /// Checks the conversations that ElevenLabs lists for the window. Returns for each whether it is over.
    async fn check_listed(
        &mut self,
        progress: &(impl Fn(&Report) + Send),
    ) -> Result<HashMap<ConversationId, bool>, PassError> {
        let (api, window) = (self.api, self.window);
        let (mut cursor, mut cursors, mut seen) = (None, HashSet::new(), HashMap::new());
        loop {
            let request = || api.list(window.since, window.until, cursor.as_deref());
            let page = api_retry::request(&api.gate, self.stop, request).await?;
            let ids: Vec<_> = page.conversations.iter().map(|listed| &listed.id).collect();
            let known = self.context.store.known(&ids).await?;
            for listed in &page.conversations {
                self.report.seen += 1;
                let is_over = listed.status.is_some_and(ConversationStatus::is_final);
                seen.insert(listed.id.clone(), is_over);
                let stored = known.get(&listed.id);
                if let Some(reason) = self.reason(listed, stored).await? {
                    self.reconcile(&listed.id, reason, stored, Some(listed)).await?;
                }
                progress(&self.report);
            }
            let Some(next) = page.next else { return Ok(seen) };
            if !cursors.insert(next.clone()) {
                return Err(ApiError::Unreadable.into()); // The list would never end.
            }
            cursor = Some(next);
        }
    }

    /// Why a listed conversation is fetched. `None`: it is not.
    async fn reason(
        &mut self,
        listed: &Summary,
        stored: Option<&StoredConversation>,
    ) -> Result<Option<Reason>, PassError> {
        let placed_since = self.placements.since();
        let reason = policy::decide(listed, stored, placed_since, self.window.until);
        if reason != Some(Reason::Unreported)
            || (self.ownership.admits(listed.channel.as_deref()) && self.ownership.has_agent(listed).await?)
        {
            return Ok(reason);
        }
        self.report.foreign += 1;
        Ok(policy::may_be_placed(listed, stored, placed_since).then_some(Reason::Placement))
    }

    /// Checks unfinished calls without a recent update. Skips a call in `listed`, because it is checked already, unless it
    /// is in progress for longer than a call can last. If ElevenLabs does not say how such a call ended, or its answer
    /// cannot be used, the call gets the outcome `unknown`: otherwise it would stay here and keep others from their turn.
    async fn check_unfinished(
        &mut self,
        listed: &HashMap<ConversationId, bool>,
        progress: &(impl Fn(&Report) + Send),
    ) -> Result<(), PassError> {
        let (context, until) = (self.context, self.window.until);
        let latest = until.saturating_sub(context.config.status_stale_after).unwrap_or(until);
        let oldest = until.saturating_sub(MAX_SILENCE).unwrap_or(Timestamp::MIN);
        let unfinished = context.store.unfinished(oldest, latest, MAX_UNFINISHED).await?;
        let ids: Vec<_> = unfinished.iter().map(|(id, _)| id).collect();
        let known = context.store.known(&ids).await?;
        for (id, began) in &unfinished {
            let is_stuck = is_too_long(*began, until);
            if listed.get(id).is_some_and(|is_over| *is_over || !is_stuck) {
                continue;
            }
            let answer = self.reconcile(id, Reason::Unfinished, known.get(id), None).await?;
            if answer != Answer::Over && is_stuck && !self.window.dry_run {
                self.conclude(id).await?;
            }
            progress(&self.report);
        }
        Ok(())
    }

    /// Gives a call the outcome `unknown`, because no source said how it ended. Its document may have been erased meanwhile.
    async fn conclude(&mut self, id: &ConversationId) -> Result<(), PassError> {
        let store = &self.context.store;
        if store.known(&[id]).await?.contains_key(id) {
            store::apply(store, &[unconcluded(id, Timestamp::now())]).await?;
            self.report.unconcluded += 1;
        }
        Ok(())
    }

    /// Fetches a conversation and publishes its missing event.
    async fn reconcile(
        &mut self,
        id: &ConversationId,
        reason: Reason,
        stored: Option<&StoredConversation>,
        listed: Option<&Summary>,
    ) -> Result<Answer, PassError> {
        if self.stop.run_until_cancelled(self.ticks.tick()).await.is_none() {
            return Err(PassError::Stopped);
        }
        let api = self.api;
        let conversation = match api_retry::request(&api.gate, self.stop, || api.whole_conversation(id)).await
        {
            Ok(conversation) => conversation,
            // The conversation was deleted, so later passes cannot fetch it either.
            Err(PassError::Api(ApiError::NotFound)) => {
                tracing::debug!(
                    conversation_id = id.as_str(),
                    "ElevenLabs does not return this conversation"
                );
                return Ok(Answer::Open);
            }
            Err(PassError::Api(error)) if error.concerns_one_conversation() => {
                let (conversation_id, reason_label) = (id.as_str(), reason.as_str());
                tracing::warn!(
                    conversation_id,
                    reason = reason_label,
                    %error,
                    "this conversation cannot be reconciled"
                );
                if listed.is_some_and(|it| policy::may_be_placed(it, stored, self.placements.since())) {
                    self.placements.add_unread(listed.and_then(|listed| listed.began));
                }
                let error = error.label();
                self.report.unusable.push(Unusable { conversation: id.clone(), reason, error });
                return Ok(Answer::Unusable);
            }
            Err(error) => return Err(error),
        };
        let placement = placement_of(&conversation).and_then(|id| self.placements.take(&id));
        let is_admitted =
            placement.is_some() || self.ownership.admits(event::channel(&conversation).as_deref());
        if reason == Reason::Unreported && !is_admitted {
            self.report.foreign += 1;
            return Ok(Answer::Open);
        }
        if reason == Reason::Placement && placement.is_none() {
            return Ok(Answer::Open);
        }
        let listed_start = listed.and_then(|listed| listed.began);
        let is_open = |listed: &&Summary| !listed.status.is_some_and(ConversationStatus::is_final);
        let open =
            listed.filter(is_open).filter(|_| reason != Reason::Placement).map(|_| conversation.clone());
        let Some(webhook) = missing_webhook(id, conversation, listed_start) else {
            if let Some(conversation) = open {
                self.observe(id, conversation).await?;
            }
            return Ok(Answer::Open);
        };
        self.publish(&webhook, placement.as_ref()).await?;
        self.report.findings.push(Finding {
            conversation: id.clone(),
            reason,
            here: stored.and_then(|stored| stored.status),
            there: listed.and_then(|listed| listed.status),
            event: TRANSCRIPTION,
        });
        Ok(Answer::Over)
    }

    /// Stores the facts of a conversation that is not over, although no call takes so long. A later pass concludes the call,
    /// unless its end is known.
    async fn observe(&self, id: &ConversationId, conversation: Map<String, Value>) -> Result<(), PassError> {
        let Ok(conversation) = Conversation::try_from(conversation) else { return Ok(()) };
        if !self.window.dry_run {
            let patch = observe(None, id.clone(), &conversation, Timestamp::now());
            store::apply(&self.context.store, &[patch]).await?;
        }
        Ok(())
    }

    /// Publishes the event of this webhook and closes its placement, unless this is a dry run.
    async fn publish(&self, webhook: &MissingWebhook, placement: Option<&CallView>) -> Result<(), PassError> {
        if self.window.dry_run {
            return Ok(());
        }
        let published = publish(self.context, webhook).await;
        published.map_err(|error| PassError::Broker(error.to_string()))?;
        if let Some(placement) = placement.and_then(CallView::placement_id) {
            self.context
                .store
                .conclude_placement(&placement, PlacementResult::Placed, Timestamp::now())
                .await?;
        }
        Ok(())
    }
}
