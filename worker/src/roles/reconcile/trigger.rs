//! The reason for a pass. Pure.

/// Why a pass runs, from the least to the most urgent reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    /// The worker has started, or `RECONCILE_EVERY` is over. The pass is skipped if another worker has just
    /// finished one.
    Scheduled,
    /// The connection to the broker was lost and is back. The pass runs at once.
    Reconnected,
    /// The broker lost stored webhooks. The pass runs at once and covers at least a day.
    DataLoss,
}
