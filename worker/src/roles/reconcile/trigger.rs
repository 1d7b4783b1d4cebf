//! The reason for a pass, and whether the pass is still needed. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::window::is_ahead;
use crate::domain::time::between;

/// Why a pass runs, from the least to the most urgent reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    /// The worker has started, or `RECONCILE_EVERY` is over. The pass is skipped if another worker has just
    /// finished one, or runs one.
    Scheduled,
    /// The connection to the broker was lost and is back. The pass runs at once, or as soon as a pass of
    /// another worker has ended.
    Reconnected,
    /// The broker lost stored webhooks. The pass runs as soon, and covers at least a day.
    DataLoss,
}

/// A trigger, and the time at which it arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The trigger.
    pub trigger: Trigger,
    /// When it arose.
    pub since: Timestamp,
}

impl Pending {
    /// The more urgent one of this trigger and `other`, which arises at `now`.
    pub fn or(self, other: Trigger, now: Timestamp) -> Self {
        if other > self.trigger { Self { trigger: other, since: now } } else { self }
    }

    /// Whether the trigger must wait for the end of another worker's pass. That pass may have begun too early.
    pub fn outlasts_other_pass(self) -> bool {
        self.trigger > Trigger::Scheduled
    }

    /// Whether a pass is needed at `now`. `last`: start of the last complete pass of any worker. `every`: the
    /// interval of scheduled passes.
    pub fn needs_pass(self, last: Option<Timestamp>, now: Timestamp, every: Duration) -> bool {
        let Some(last) = last.filter(|last| !is_ahead(*last, now)) else { return true };
        match self.trigger {
            Trigger::Scheduled => between(last, now) >= every / 2,
            Trigger::Reconnected => last < self.since,
            // The last pass may have covered less than a day.
            Trigger::DataLoss => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_needed_unless_another_one_has_covered_its_trigger() {
        use Trigger::{DataLoss, Reconnected, Scheduled};
        let at = |second| Timestamp::from_second(second).unwrap();
        #[rustfmt::skip]
        let table = [ // trigger, when it arose, last pass, needed at 1000
            (Scheduled,   1000, None,      true),
            (Scheduled,   1000, Some(900), true),
            (Scheduled,   1000, Some(960), false),
            (Scheduled,   1000, Some(1100), false),
            (Scheduled,   1000, Some(1400), true), // By a clock that was ahead.
            (Reconnected, 980,  Some(1400), true),
            (Reconnected, 980,  None,      true),
            (Reconnected, 980,  Some(970), true),
            (Reconnected, 980,  Some(990), false),
            (DataLoss,    980,  Some(990), true),
        ];
        for (trigger, since, last, expected) in table {
            let pending = Pending { trigger, since: at(since) };
            let needed = pending.needs_pass(last.map(at), at(1000), Duration::from_secs(100));
            assert_eq!(needed, expected, "{trigger:?} {last:?}");
        }
    }

    #[test]
    fn the_more_urgent_trigger_counts_and_keeps_its_time() {
        use Trigger::{DataLoss, Reconnected, Scheduled};
        let at = |second| Timestamp::from_second(second).unwrap();
        let pending = Pending { trigger: Reconnected, since: at(1) };
        assert_eq!(pending.or(Scheduled, at(2)), pending);
        assert_eq!(pending.or(Reconnected, at(2)), pending);
        assert_eq!(pending.or(DataLoss, at(2)), Pending { trigger: DataLoss, since: at(2) });
    }
}
