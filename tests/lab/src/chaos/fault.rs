//! The faults of the fault matrix: names, durations, and the parts of the system that each affects.

use std::time::Duration;

/// A fault. [`Fault::rows`] are its rows in the fault matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// nats-server is killed, and restarted when the fault ends.
    BrokerKilled,
    /// nats-server is suspended (SIGSTOP).
    BrokerFrozen,
    /// The stream `WEBHOOKS` is full.
    StreamFull,
    /// The consumer `status` is deleted.
    ConsumerDeleted,
    /// A gateway is killed.
    GatewayKilled,
    /// A gateway is stopped by SIGTERM.
    GatewayStopped,
    /// A worker is killed.
    WorkerKilled,
    /// A worker is suspended (SIGSTOP) for longer than `ack_wait`.
    WorkerFrozen,
    /// A new worker starts, then an old one is stopped by SIGTERM.
    WorkerReplaced,
    /// mongod is killed.
    DatabaseKilled,
    /// mongod is suspended (SIGSTOP).
    DatabaseFrozen,
    /// Every answer of mongod is delayed.
    DatabaseSlow,
    /// Requests to mongod arrive; its answers do not.
    DatabaseMute,
    /// All traffic of the broker is held back.
    BrokerCut,
    /// Messages to the broker arrive; its answers do not.
    BrokerMute,
    /// Connections to the broker are reset.
    BrokerReset,
    /// Connections to the broker carry a few bytes at a time.
    BrokerTrickle,
    /// The ElevenLabs API answers with 429, 500 or invalid JSON, late, or not at all.
    ApiStorm,
    /// Bodies that are no webhooks are posted, and published to the stream.
    Garbage,
    /// Connections send a part of a request and then nothing.
    SlowClients,
    /// The machine loses power: all processes except the simulated API are killed, and unsynced data is lost.
    PowerCut,
    /// The disk of broker, database and spool is full.
    DiskFull,
    /// Every sync of the disk of broker, database and spool is slow.
    DiskSlow,
}

/// A part of the system that a fault affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Broker,
    Database,
    Gateway,
    Worker,
    Api,
    Clients,
}

impl Fault {
    /// For every fault: name, rows in the fault matrix, and minimum and maximum duration in milliseconds.
    #[rustfmt::skip]
    const TABLE: [(Self, &'static str, &'static str, (u64, u64)); 23] = [
        (Self::BrokerKilled,    "broker killed",     "1",     (200, 4_000)),
        (Self::BrokerFrozen,    "broker frozen",     "2",     (1_000, 8_000)),
        (Self::StreamFull,      "stream full",       "6",     (500, 3_000)),
        (Self::ConsumerDeleted, "consumer deleted",  "7",     (100, 500)),
        (Self::GatewayKilled,   "gateway killed",    "9",     (100, 2_000)),
        (Self::GatewayStopped,  "gateway stopped",   "10",    (100, 2_000)),
        (Self::WorkerKilled,    "worker killed",     "11",    (100, 2_000)),
        (Self::WorkerFrozen,    "worker frozen",     "12",    (12_000, 14_000)),
        (Self::WorkerReplaced,  "worker replaced",   "27",    (100, 500)),
        (Self::DatabaseKilled,  "database killed",   "13",    (200, 4_000)),
        (Self::DatabaseFrozen,  "database frozen",   "13",    (1_000, 8_000)),
        (Self::DatabaseSlow,    "database slow",     "13",    (2_000, 6_000)),
        (Self::DatabaseMute,    "database mute",     "14, 15", (1_000, 6_000)),
        (Self::BrokerCut,       "broker cut off",    "15",    (1_000, 8_000)),
        (Self::BrokerMute,      "broker mute",       "15",    (1_000, 8_000)),
        (Self::BrokerReset,     "broker reset",      "15",    (200, 3_000)),
        (Self::BrokerTrickle,   "broker trickles",   "15",    (1_000, 4_000)),
        (Self::ApiStorm,        "API storm",         "17, 18", (2_000, 6_000)),
        (Self::Garbage,         "garbage",           "19, 20", (100, 500)),
        (Self::SlowClients,     "slow clients",      "21",    (1_000, 5_000)),
        (Self::PowerCut,        "power cut",         "3",     (0, 1_000)),
        (Self::DiskFull,        "disk full",         "5",     (500, 4_000)),
        (Self::DiskSlow,        "disk slow",         "2, 13", (1_000, 5_000)),
    ];

    /// All faults.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> &'static (Self, &'static str, &'static str, (u64, u64)) {
        let found = Self::TABLE.iter().find(|row| row.0 == self);
        found.expect("every fault is in the table")
    }

    /// Name of the fault.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Rows of the fault matrix that the fault covers.
    pub fn rows(self) -> &'static str {
        self.row().2
    }

    /// Duration of the fault: the minimum for a `share` of 0, the maximum for 1.
    pub(super) fn duration(self, share: f64) -> Duration {
        let (least, most) = self.row().3;
        Duration::from_millis(least) + Duration::from_millis(most - least).mul_f64(share)
    }

    /// Whether the fault needs a [`crate::disk::Disk`].
    pub(super) fn needs_disk(self) -> bool {
        matches!(self, Self::PowerCut | Self::DiskFull | Self::DiskSlow)
    }

    /// Whether both faults can be active at once: they affect different parts.
    pub(super) fn goes_with(self, other: Self) -> bool {
        !self.parts().iter().any(|part| other.parts().contains(part))
    }

    fn parts(self) -> &'static [Part] {
        match self {
            Self::BrokerKilled
            | Self::BrokerFrozen
            | Self::BrokerCut
            | Self::BrokerMute
            | Self::BrokerReset
            | Self::BrokerTrickle
            | Self::StreamFull
            | Self::ConsumerDeleted
            | Self::Garbage => &[Part::Broker],
            Self::GatewayKilled | Self::GatewayStopped => &[Part::Gateway],
            Self::WorkerKilled | Self::WorkerFrozen | Self::WorkerReplaced => &[Part::Worker],
            Self::DatabaseKilled | Self::DatabaseFrozen | Self::DatabaseSlow | Self::DatabaseMute => {
                &[Part::Database]
            }
            Self::ApiStorm => &[Part::Api],
            Self::SlowClients => &[Part::Clients],
            Self::PowerCut => &[Part::Broker, Part::Database, Part::Gateway, Part::Worker],
            Self::DiskFull | Self::DiskSlow => &[Part::Broker, Part::Database],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name_a_row_and_a_duration() {
        for fault in Fault::all() {
            assert!(fault.duration(0.0) <= fault.duration(1.0) && !fault.rows().is_empty());
            assert!(!fault.goes_with(fault), "{}", fault.name());
        }
        let names: std::collections::HashSet<_> = Fault::all().map(Fault::name).collect();
        assert_eq!(names.len(), 23);
    }
}
