//! The durability grade: the failures that an acknowledged webhook survives. The grade follows from the
//! settings of the broker. Pure.
//!
//! Invariant: a grade is never better than the settings that were read.

use std::time::Duration;

/// With this many replicas of a stream, an acknowledged message is on a majority of the servers, which is at
/// least two.
const MIN_REPLICAS: usize = 3;

/// The time at which a server writes stored messages from memory to its disk (`sync_interval`). Ordered from
/// the strictest policy to the laxest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncPolicy {
    /// Before it acknowledges a message.
    Always,
    /// At this interval, after it has acknowledged.
    Interval(Duration),
}

/// The settings of the broker from which the grade follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageSettings {
    /// Replicas of the stream.
    pub replicas: usize,
    /// Whether the stream is written after the acknowledgement (`persist_mode: async`), which overrides
    /// `sync`.
    pub is_asynchronous: bool,
    /// The laxest policy among the servers. `None`: at least one server did not report its policy.
    pub sync: Option<SyncPolicy>,
}

/// The failures that an acknowledged webhook survives, from the best grade to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// The message is on disk. It survives a power cut.
    Synced,
    /// The webhook is on the gateway's disk, and goes to the broker's disk from there. It survives a power cut, but not
    /// the loss of the gateway's disk.
    SyncedLocal,
    /// A majority of the servers has the message in memory. It survives the loss of one server.
    Replicated,
    /// One server has the message in memory. It survives a crash of the broker's process, but no power cut.
    PageCache,
    /// The settings could not be read.
    Unknown,
}

impl Grade {
    /// Every grade.
    pub const ALL: [Self; 5] =
        [Self::Synced, Self::SyncedLocal, Self::Replicated, Self::PageCache, Self::Unknown];

    /// The stable name in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::SyncedLocal => "synced-local",
            Self::Replicated => "replicated",
            Self::PageCache => "page-cache",
            Self::Unknown => "unknown",
        }
    }
}

impl StorageSettings {
    /// The durability grade of webhooks that the spool takes first (`SPOOL=first`): what they survive both there and in
    /// the broker, which alone has them soon after.
    pub fn local_grade(self) -> Grade {
        match self.grade() {
            Grade::Synced => Grade::SyncedLocal,
            Grade::SyncedLocal | Grade::Replicated | Grade::PageCache => Grade::PageCache,
            Grade::Unknown => Grade::Unknown,
        }
    }

    /// The durability grade of webhooks under these settings.
    pub fn grade(self) -> Grade {
        match self.sync {
            _ if self.is_asynchronous => Grade::PageCache,
            Some(SyncPolicy::Always) => Grade::Synced,
            Some(SyncPolicy::Interval(_)) | None if self.replicas >= MIN_REPLICAS => Grade::Replicated,
            Some(SyncPolicy::Interval(_)) => Grade::PageCache,
            None => Grade::Unknown,
        }
    }
}

/// The laxest policy that the servers report. A server that reports none could have a laxer one, so the
/// result is `Always` only if every server reports `Always`.
pub(super) fn laxest(reported: &[Option<SyncPolicy>]) -> Option<SyncPolicy> {
    let laxest_known = reported.iter().flatten().max().copied();
    let all_known = !reported.is_empty() && reported.iter().all(Option::is_some);
    laxest_known.filter(|policy| all_known || matches!(policy, SyncPolicy::Interval(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Option<SyncPolicy> = Some(SyncPolicy::Interval(Duration::from_mins(2)));
    const ALWAYS: Option<SyncPolicy> = Some(SyncPolicy::Always);

    #[test]
    fn every_combination_of_settings_has_its_grade() {
        #[rustfmt::skip]
        let table = [ // sync, replicas, is_asynchronous, grade
            (ALWAYS,   1, false, Grade::Synced),
            (ALWAYS,   3, false, Grade::Synced),
            (INTERVAL, 1, false, Grade::PageCache),
            (INTERVAL, 2, false, Grade::PageCache),
            (INTERVAL, 3, false, Grade::Replicated),
            (INTERVAL, 5, false, Grade::Replicated),
            (None,     1, false, Grade::Unknown),
            (None,     3, false, Grade::Replicated),
            // An asynchronous stream overrides the servers' policy.
            (ALWAYS,   1, true,  Grade::PageCache),
            (ALWAYS,   3, true,  Grade::PageCache),
            (None,     1, true,  Grade::PageCache),
        ];
        for (sync, replicas, is_asynchronous, expected) in table {
            let settings = StorageSettings { replicas, is_asynchronous, sync };
            assert_eq!(settings.grade(), expected, "{settings:?}");
            let local = match expected {
                Grade::Synced => Grade::SyncedLocal,
                Grade::Replicated => Grade::PageCache,
                other => other,
            };
            assert_eq!(settings.local_grade(), local, "{settings:?}");
        }
    }

    #[test]
    fn laxest_policy_counts_and_always_requires_every_server() {
        #[rustfmt::skip]
        let table = [
            (vec![],                         None),
            (vec![ALWAYS],                   ALWAYS),
            (vec![ALWAYS, ALWAYS],           ALWAYS),
            (vec![ALWAYS, INTERVAL, ALWAYS], INTERVAL),
            (vec![ALWAYS, None],             None),
            (vec![INTERVAL, None],           INTERVAL),
            (vec![None],                     None),
        ];
        for (reported, expected) in table {
            assert_eq!(laxest(&reported), expected, "{reported:?}");
        }
    }
}
