//! The placements whose outcome is unknown. A pass looks for their conversations.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{error::PassError, window::Window};
use crate::{
    domain::{event::PlacementId, time::after},
    roles::api::DIALLING_TIMEOUT,
    store::{CallView, PlacementResult, Store},
};

/// Most placements of one pass.
const MAX_PLACEMENTS: i64 = 1000;
/// Age at which a placement without a conversation is given up.
const GIVE_UP_AFTER: Duration = Duration::from_mins(15);
/// Age from which on no window can contain the conversation of a placement.
const OLDEST: Duration = Duration::from_hours(7 * 24);
/// Largest difference between the clocks of worker and ElevenLabs, which rounds the start of a conversation
/// to seconds.
const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// The open placements.
pub struct OpenPlacements<'a> {
    store: &'a Store,
    window: Window,
    open: BTreeMap<PlacementId, CallView>,
}

impl<'a> OpenPlacements<'a> {
    /// Reads the open placements. Closes each placement whose conversation is known by now.
    pub async fn load(store: &'a Store, window: Window) -> Result<Self, PassError> {
        let open = store.unresolved_placements(window.until, MAX_PLACEMENTS).await?;
        let open = open.into_iter().filter_map(|call| Some((call.placement_id()?, call))).collect();
        let mut placements = Self { store, window, open };
        placements.close_known().await?;
        Ok(placements)
    }

    async fn close_known(&mut self) -> Result<(), PassError> {
        let known: Vec<_> = self
            .open
            .iter()
            .filter(|(_, call)| call.conversation_id().is_some())
            .map(|(id, _)| id.clone())
            .collect();
        for id in known {
            self.open.remove(&id);
            if !self.window.dry_run {
                self.store.conclude_placement(&id, PlacementResult::Placed, Timestamp::now()).await?;
            }
        }
        Ok(())
    }

    /// Earliest start of a conversation that can belong to an open placement. `None`: no placement is open.
    pub fn since(&self) -> Option<Timestamp> {
        let oldest = self.open.values().filter_map(|call| Some(call.placement()?.at)).min()?;
        oldest.saturating_sub(CLOCK_SKEW).ok()
    }

    /// Removes a placement whose conversation was found. `None`: it was not open.
    pub fn take(&mut self, id: &PlacementId) -> Option<CallView> {
        self.open.remove(id)
    }

    /// Gives up the placements whose conversation should be in the window and was not found. Returns their
    /// number.
    pub async fn give_up(&self) -> Result<usize, PassError> {
        let mut count = 0;
        for (id, call) in &self.open {
            let Some(placing) = call.placement() else { continue };
            let is_too_old = self.window.until >= after(placing.at, OLDEST);
            let is_covered = placing.at >= self.window.since || is_too_old;
            let has_waited = self.window.until >= after(placing.at, GIVE_UP_AFTER.max(DIALLING_TIMEOUT));
            if is_covered && has_waited {
                count += 1;
                if !self.window.dry_run {
                    self.store.give_up_placement(id, Timestamp::now()).await?;
                    tracing::warn!(
                        placement_id = id.as_str(),
                        "placement given up: ElevenLabs has no conversation for it"
                    );
                }
            }
        }
        Ok(count)
    }
}
