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
/// Age at which a placement is given up in any case. Scheduled passes do not reach further back.
const OLDEST: Duration = Duration::from_hours(7 * 24);
/// Largest difference between the clocks of worker and ElevenLabs, which rounds the start of a conversation
/// to seconds.
const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// The open placements.
pub struct OpenPlacements<'a> {
    store: &'a Store,
    window: Window,
    open: BTreeMap<PlacementId, CallView>,
    /// Start of each conversation that could not be read and may belong to a placement. `None`: it is not known.
    unread: Vec<Option<Timestamp>>,
}

impl<'a> OpenPlacements<'a> {
    /// Reads the open placements. Closes each placement whose conversation is known by now.
    pub async fn load(store: &'a Store, window: Window) -> Result<Self, PassError> {
        let open = store.unresolved_placements(window.until, MAX_PLACEMENTS).await?;
        let open = open.into_iter().filter_map(|call| Some((call.placement_id()?, call))).collect();
        let mut placements = Self { store, window, open, unread: Vec::new() };
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

    /// Records a conversation that could not be read. A placement to which it may belong is not given up. `began`: its
    /// start.
    pub fn add_unread(&mut self, began: Option<Timestamp>) {
        self.unread.push(began);
    }

    /// Gives up each placement whose conversation should be in the window and was not found, and each one older than
    /// [`OLDEST`]. Returns their number.
    pub async fn give_up(&self) -> Result<usize, PassError> {
        let mut count = 0;
        for (id, call) in &self.open {
            let Some(placing) = call.placement() else { continue };
            if !is_given_up(placing.at, self.window, &self.unread) {
                continue;
            }
            if !self.window.dry_run {
                if !self.store.give_up_placement(id, Timestamp::now()).await? {
                    continue; // A webhook has named its conversation meanwhile.
                }
                tracing::warn!(
                    placement_id = id.as_str(),
                    "placement given up: ElevenLabs has no conversation for it"
                );
            }
            count += 1;
        }
        Ok(count)
    }
}

/// Whether a pass over `window` gives up a placement that began at `at` and has no conversation. `unread`: see
/// [`OpenPlacements::unread`].
fn is_given_up(at: Timestamp, window: Window, unread: &[Option<Timestamp>]) -> bool {
    if window.until >= after(at, OLDEST) {
        return true;
    }
    let (first, last) = (at.saturating_sub(CLOCK_SKEW).unwrap_or(at), after(at, GIVE_UP_AFTER));
    let may_be_unread = unread.iter().any(|began| began.is_none_or(|began| (first..=last).contains(&began)));
    let has_waited = window.until >= after(at, GIVE_UP_AFTER.max(DIALLING_TIMEOUT));
    at >= after(window.since, CLOCK_SKEW) && has_waited && !may_be_unread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placement_is_given_up_once_its_conversation_would_be_known() {
        let at = |minute: i64| Timestamp::from_second(1_000_000_000 + minute * 60).unwrap();
        let week = 7 * 24 * 60;
        #[rustfmt::skip]
        let table = [ // window from, to, begins of unread conversations, given up
            (-60,  20,   vec![],                            true),
            (-60,  10,   vec![],                            false), // It has not waited long enough.
            (5,    20,   vec![],                            false), // Its conversation is before the window.
            (0,    20,   vec![],                            false), // It may be, by the clock of ElevenLabs.
            (-1,   20,   vec![],                            true),
            (-60,  20,   vec![Some(at(-1))],                false),
            (-60,  20,   vec![Some(at(-2))],                true),
            (5,    week, vec![],                            true),
            (-60,  20,   vec![Some(at(0))],                 false),
            (-60,  20,   vec![Some(at(-5)), Some(at(1))],   false),
            (-60,  20,   vec![Some(at(-5)), Some(at(18))],  true),  // They belong to other calls.
            (-60,  20,   vec![None],                        false),
            (5,    week, vec![None],                        true),
        ];
        for (since, until, unread, expected) in table {
            let window = Window { since: at(since), until: at(until), rate: 1.0, dry_run: false };
            assert_eq!(is_given_up(at(0), window, &unread), expected, "{since} {until} {unread:?}");
        }
    }
}
