//! What is done to the system, by the rows of the fault matrix.

use std::time::Duration;

/// One fault. The numbers in the table below are the rows of the fault matrix that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// nats-server is killed, and started when the fault ends.
    BrokerKilled,
    /// nats-server is stopped (SIGSTOP).
    BrokerFrozen,
    /// `WEBHOOKS` takes no more messages.
    StreamFull,
    /// The consumer `status` is deleted.
    ConsumerDeleted,
    /// A gateway is killed.
    GatewayKilled,
    /// A gateway is stopped in order.
    GatewayStopped,
    /// A worker is killed.
    WorkerKilled,
    /// A worker is stopped (SIGSTOP) for longer than `ack_wait`.
    WorkerFrozen,
    /// A worker is started beside one that is then stopped in order.
    WorkerReplaced,
    /// mongod is killed.
    DatabaseKilled,
    /// mongod is stopped (SIGSTOP).
    DatabaseFrozen,
    /// Every answer of mongod is late.
    DatabaseSlow,
    /// What mongod is told arrives, its answers do not.
    DatabaseMute,
    /// Nothing passes between the broker and anybody.
    BrokerCut,
    /// What the broker is told arrives, its answers do not.
    BrokerMute,
    /// Connections to the broker are reset.
    BrokerReset,
    /// Connections to the broker pass a few bytes at a time.
    BrokerTrickle,
    /// The ElevenLabs API answers 429 and 500, nonsense, late, or not at all.
    ApiStorm,
    /// Bodies that are no webhooks, over HTTP and straight into the stream.
    Garbage,
    /// Connections that begin a request and do not go on.
    SlowClients,
    /// The machine loses power: everything but the simulated API, and what was not synced.
    PowerCut,
    /// The disk of broker, database and spool has no room left.
    DiskFull,
    /// Every sync of that disk takes long.
    DiskSlow,
}

/// What a fault takes away from everybody, other faults included.
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
    /// Every fault, its name, its rows and the milliseconds it lasts: at least, at most.
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

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> &'static (Self, &'static str, &'static str, (u64, u64)) {
        let found = Self::TABLE.iter().find(|row| row.0 == self);
        found.expect("every fault is in the table")
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The rows of the fault matrix it belongs to.
    pub fn rows(self) -> &'static str {
        self.row().2
    }

    /// How long it lasts, by `share` between 0 and 1.
    pub(super) fn lasts(self, share: f64) -> Duration {
        let (least, most) = self.row().3;
        Duration::from_millis(least) + Duration::from_millis(most - least).mul_f64(share)
    }

    /// Whether it needs a disk that can be broken.
    pub(super) fn needs_disk(self) -> bool {
        matches!(self, Self::PowerCut | Self::DiskFull | Self::DiskSlow)
    }

    /// Whether the two can be on at a time: one part is not broken twice over, and what a fault needs to
    /// begin or to end is there.
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
    fn every_fault_has_a_name_a_row_and_a_length() {
        for fault in Fault::all() {
            assert!(fault.lasts(0.0) <= fault.lasts(1.0) && !fault.rows().is_empty());
            assert!(!fault.goes_with(fault), "{}", fault.name());
        }
        let names: std::collections::HashSet<_> = Fault::all().map(Fault::name).collect();
        assert_eq!(names.len(), 23);
    }
}
