//! Decides whether the next webhooks are published in a batch, and keeps the state of the open batch. Pure.

use std::time::{Duration, Instant};

use super::{cost_model::CostModel, wire::AckId};

/// Pause after the broker has refused to open a batch. No batch is opened in this time.
pub(super) const BATCH_PAUSE: Duration = Duration::from_secs(10);

/// Whether a batch is open, or may be opened.
#[derive(Clone, Copy, Debug, Default)]
enum Mode {
    /// No batch is open. The next decision may open one.
    #[default]
    NoBatch,
    /// The broker has refused to open a batch. Webhooks are published one by one until `until`.
    Paused { until: Instant },
    /// A batch is open. Webhooks that arrive wait for the next decision.
    Open(OpenBatch),
}

/// The open batch. There is at most one.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenBatch {
    /// The number of the batch.
    pub number: u64,
    /// Earliest time at which the batch could have been opened; the cost model measures from here.
    /// `None` if single publishes were in flight, because they delay the batch.
    cost_starts_at: Option<Instant>,
    /// The acknowledgement that moves the batch to its next step.
    awaited_ack: AckId,
}

/// Expected load: the size of the last batch. Its senders usually send again within `until`.
#[derive(Clone, Copy, Debug)]
struct ExpectedSenders {
    count: usize,
    since: Instant,
    until: Instant,
}

/// The state of the open batch, and the facts that decide whether the next one is opened.
#[derive(Debug, Default)]
pub(super) struct Batching {
    is_supported: bool,
    mode: Mode,
    expected_senders: Option<ExpectedSenders>,
    pub cost_model: CostModel,
}

impl Batching {
    /// Sets whether the broker supports atomic batches.
    pub fn set_supported(&mut self, is_supported: bool) {
        self.is_supported = is_supported;
    }

    pub fn is_open(&self) -> bool {
        matches!(self.mode, Mode::Open(_))
    }

    /// Whether a batch is cheaper than single publishes now. `awaited` is the number of webhooks for which a
    /// request waits, in flight or not: their senders usually send again soon.
    pub fn is_worthwhile(&self, awaited: usize, now: Instant) -> bool {
        let is_paused = matches!(self.mode, Mode::Paused { until } if now < until);
        let expected = self.expected_senders(now).map_or(0, |expected| expected.count);
        let likely = expected.max(awaited);
        self.is_supported && !is_paused && likely > 1 && self.cost_model.prefers_batch(likely)
    }

    /// Opens a batch. `ack` is the acknowledgement of its first message.
    pub fn open(&mut self, ack: AckId, are_singles_in_flight: bool, now: Instant) -> OpenBatch {
        let cost_starts_at = (!are_singles_in_flight)
            .then(|| self.expected_senders(now).map_or(now, |expected| expected.since));
        let batch = OpenBatch { number: ack.0, cost_starts_at, awaited_ack: ack };
        self.mode = Mode::Open(batch);
        batch
    }

    /// Waits for the commit of `batch`, which `ack` acknowledges.
    pub fn await_commit(&mut self, batch: OpenBatch, ack: AckId) {
        self.mode = Mode::Open(OpenBatch { awaited_ack: ack, ..batch });
    }

    /// The acknowledgement that the open batch waits for.
    pub fn awaited_ack(&self) -> Option<AckId> {
        match self.mode {
            Mode::Open(batch) => Some(batch.awaited_ack),
            Mode::NoBatch | Mode::Paused { .. } => None,
        }
    }

    /// Closes the open batch and returns it, if `ack` is the acknowledgement that it waits for.
    pub fn take(&mut self, ack: AckId) -> Option<OpenBatch> {
        match self.mode {
            Mode::Open(batch) if batch.awaited_ack == ack => {
                self.mode = Mode::NoBatch;
                Some(batch)
            }
            Mode::NoBatch | Mode::Paused { .. } | Mode::Open(_) => None,
        }
    }

    /// Stops waiting for the open batch.
    pub fn abandon(&mut self) {
        self.mode = Mode::NoBatch;
    }

    /// Opens no batch for [`BATCH_PAUSE`], because the broker has refused one.
    pub fn pause(&mut self, now: Instant) {
        self.mode = Mode::Paused { until: now + BATCH_PAUSE };
    }

    /// Records the broker's time for a single message. The time is ignored while a batch is open, because the
    /// batch delays the message.
    pub fn observe_single(&mut self, took: Duration) {
        if !self.is_open() {
            self.cost_model.observe_single(took);
        }
    }

    /// Records that the broker has stored `batch` with `count` messages.
    pub fn observe_batch(&mut self, batch: OpenBatch, count: usize, now: Instant) {
        if let Some(start) = batch.cost_starts_at {
            let took = now.saturating_duration_since(start);
            self.cost_model.observe_batch(count, took);
            self.expected_senders = Some(ExpectedSenders { count, since: now, until: now + took });
        }
    }

    /// Forgets everything about the broker, which may come back with other settings.
    pub fn reset(&mut self) {
        *self = Self { is_supported: self.is_supported, ..Self::default() };
    }

    fn expected_senders(&self, now: Instant) -> Option<ExpectedSenders> {
        self.expected_senders.filter(|expected| now < expected.until)
    }
}
