//! Why the spool does not hold a webhook.

/// Why the spool does not hold a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolError {
    /// The spool holds `SPOOL_MAX_BYTES` already.
    Full,
    /// The queue for the writer thread is full.
    Busy,
    /// The disk did not answer in time. The spool may still store the webhook.
    TimedOut,
    /// The disk failed, or the spool is closed.
    Disk,
}

impl SpoolError {
    /// Every error.
    pub const ALL: [Self; 4] = [Self::Full, Self::Busy, Self::TimedOut, Self::Disk];

    /// The stable name in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Busy => "busy",
            Self::TimedOut => "timed_out",
            Self::Disk => "disk_failed",
        }
    }
}
