//! Labels of the worker's metrics, and the values that are there from the start.

use prometheus_client::encoding::EncodeLabelSet;

/// Reasons of dead letters.
pub(super) const DEAD_REASONS: [&str; 14] = [
    "invalid_json",
    "no_identifier",
    "invalid_identifier",
    "invalid_audio",
    "no_event_type",
    "unexpected_shape",
    "unsupported_event",
    "unstorable_payload",
    "rejected_by_database",
    "body_missing",
    "body_too_large",
    "too_complex",
    "kills_the_worker",
    "invalid_job",
];
/// What the ElevenLabs API can answer.
pub(super) const API_OUTCOMES: [&str; 8] =
    ["ok", "not_found", "unauthorized", "rate_limited", "unavailable", "refused", "too_large", "unreadable"];
/// How an operation of the database can end.
pub(super) const STORE_OUTCOMES: [&str; 3] = ["ok", "unavailable", "refused"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByStatus {
    pub status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByReason {
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByFamily {
    pub family: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByFailure {
    pub status: &'static str,
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByConsumer {
    pub consumer: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByStream {
    pub stream: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByOutcome {
    pub outcome: &'static str,
}
