//! Estimates whether single publishes or a batch take the broker less time. Pure.
//!
//! A broker that syncs needs one fsync for each single publish. A broker that does not sync needs little time
//! for it. An atomic batch has a fixed cost, because the broker stages it in a separate store, and a small
//! cost for each message.
//!
//! The cheaper way depends on the sync setting, the disk, the replicas and the size of the bodies. So the
//! gateway has no setting for it: it measures both costs while it runs.

use std::time::Duration;

/// A batch is preferred only if single publishes cost more than this multiple of it. The estimate of a batch
/// is less certain than the estimate of single publishes.
const BATCH_MARGIN: f64 = 1.15;
/// The number of single messages over which their cost is averaged. Acknowledgements come in bursts, so the
/// window is long.
const SINGLE_WINDOW: f64 = 1024.0;
/// The number of single messages that must be measured before their cost counts as known. The first messages
/// are slower, because every cache is cold.
const MIN_SINGLES: f64 = 512.0;
/// The weight of one measured batch.
const BATCH_WEIGHT: f64 = 1.0 / 8.0;
/// Age in seconds at which a cost is forgotten. The cost of single publishes ages while batches are measured,
/// and the cost of batches ages while single publishes are measured.
const MAX_AGE_SECS: f64 = 10.0;
/// The age at which the cost of batches is forgotten for the first time. The first batches of a broker are slow. Each
/// further time the age is twice as long, up to [`MAX_AGE_SECS`].
const FIRST_AGE_SECS: f64 = 0.5;
/// Batches that are published for this long, in seconds, are cheaper than single publishes.
const PROVEN_SECS: f64 = 1.0;
/// A measurement counts at most as this multiple of its estimate. A longer time is a stall of the broker, and
/// not its usual cost.
const STALL_FACTOR: f64 = 4.0;

/// The measured costs of single publishes and of batches.
#[derive(Clone, Copy, Debug)]
pub struct CostModel {
    single: SingleCost,
    batch: BatchCost,
    /// Time that single publishes took since the last batch, in seconds.
    secs_without_batch: f64,
    /// The age at which the cost of batches is forgotten, in seconds.
    max_batch_age_secs: f64,
    /// Time that batches took since the last single publish, in seconds.
    secs_without_single: f64,
}

/// The cost of single publishes, measured while the broker has several of them to store.
#[derive(Clone, Copy, Debug, Default)]
struct SingleCost {
    /// Weighted number of measured messages, without the current burst.
    messages: f64,
    /// Weighted time that they took, in seconds.
    seconds: f64,
    /// The current burst. It is not part of the average yet.
    burst: Burst,
}

/// Messages whose acknowledgements arrived together.
#[derive(Clone, Copy, Debug, Default)]
struct Burst {
    messages: f64,
    seconds: f64,
}

/// The cost of batches, in seconds.
#[derive(Clone, Copy, Debug)]
struct BatchCost {
    /// For each batch, whatever its size.
    per_batch: f64,
    /// For each message of a batch.
    per_message: f64,
}

impl Default for BatchCost {
    /// As measured with nats-server 2.15.1 on two cores and messages of 300 bytes. The sync setting made no
    /// difference.
    fn default() -> Self {
        Self { per_batch: 2e-3, per_message: 10e-6 }
    }
}

impl Default for CostModel {
    fn default() -> Self {
        Self {
            single: SingleCost::default(),
            batch: BatchCost::default(),
            secs_without_batch: 0.0,
            max_batch_age_secs: FIRST_AGE_SECS,
            secs_without_single: 0.0,
        }
    }
}

impl CostModel {
    /// Whether `messages` are cheaper as one batch than as single publishes. False if the cost of single
    /// publishes is unknown: the gateway then publishes one by one and measures that cost.
    pub fn prefers_batch(&self, messages: usize) -> bool {
        let messages = to_f64(messages);
        let batch = self.batch.per_batch + messages * self.batch.per_message;
        self.single.per_message().is_some_and(|single| messages * single > BATCH_MARGIN * batch)
    }

    /// Records that the broker has stored a single message. `took` is the time since it stored the previous
    /// single message. Only call this if the broker had several messages to store during that time.
    pub fn observe_single(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        self.single.push(took);
        self.secs_without_single = 0.0;
        self.secs_without_batch += took;
        if self.secs_without_batch > self.max_batch_age_secs {
            (self.batch, self.secs_without_batch) = (BatchCost::default(), 0.0);
            self.max_batch_age_secs = MAX_AGE_SECS.min(2.0 * self.max_batch_age_secs);
        }
    }

    /// Records that the broker has stored a batch in the time `took`. This time starts when the previous
    /// batch was stored, if its senders were still expected to send again. Otherwise it starts when this
    /// batch was opened. So both costs include the time that a sender needs until it sends again.
    pub fn observe_batch(&mut self, messages: usize, took: Duration) {
        // Normalised least mean squares: each of the two parts of the cost takes a share of the error. The
        // share of the cost per message grows with the size. A size of 1 is a usual batch.
        const USUAL_SIZE: f64 = 64.0;
        let size = to_f64(messages) / USUAL_SIZE;
        let BatchCost { per_batch, per_message } = self.batch;
        let estimate = per_batch + size * USUAL_SIZE * per_message;
        let took = took.as_secs_f64().min(STALL_FACTOR * estimate);
        let error = took - estimate;
        let step = BATCH_WEIGHT * error / (1.0 + size * size);
        self.batch = BatchCost {
            per_batch: (per_batch + step).max(0.0),
            per_message: (per_message + step * size / USUAL_SIZE).max(0.0),
        };
        self.secs_without_batch = 0.0;
        self.secs_without_single += took;
        if self.secs_without_single > PROVEN_SECS {
            self.max_batch_age_secs = FIRST_AGE_SECS;
        }
        if self.secs_without_single > MAX_AGE_SECS {
            (self.single, self.secs_without_single) = (SingleCost::default(), 0.0);
        }
    }
}

impl SingleCost {
    /// Seconds per message. `None` if too few messages were measured.
    fn per_message(&self) -> Option<f64> {
        (self.messages >= MIN_SINGLES).then(|| self.seconds / self.messages)
    }

    /// Adds a message. A message that took no time belongs to the current burst. Any other message starts a
    /// new burst, and the previous burst becomes part of the average.
    fn push(&mut self, took: f64) {
        if took > 0.0 {
            let Burst { messages, seconds } = std::mem::take(&mut self.burst);
            let max = self.per_message().map_or(f64::INFINITY, |cost| STALL_FACTOR * cost * messages);
            let kept = 1.0 - messages.min(SINGLE_WINDOW) / SINGLE_WINDOW;
            self.seconds = self.seconds * kept + seconds.min(max);
            self.messages = self.messages * kept + messages;
        }
        self.burst.messages += 1.0;
        self.burst.seconds += took;
    }
}

fn to_f64(messages: usize) -> f64 {
    u32::try_from(messages).unwrap_or(u32::MAX).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    fn after_singles(singles: usize, took: Duration) -> CostModel {
        let mut model = CostModel::default();
        (0..singles).for_each(|_| model.observe_single(took));
        model
    }

    #[test]
    fn a_broker_that_syncs_gets_batches_above_a_certain_size() {
        assert!(!CostModel::default().prefers_batch(1000), "no cost is known yet");
        let model = after_singles(1000, micros(145));
        let least = (1..1000).find(|&messages| model.prefers_batch(messages)).unwrap();
        assert!((15..25).contains(&least), "{least}");
    }

    #[test]
    fn a_broker_that_does_not_sync_gets_no_batches() {
        assert!(!after_singles(1000, micros(10)).prefers_batch(1000));
    }

    #[test]
    fn both_parts_of_the_batch_cost_are_learned() {
        let mut model = CostModel::default();
        for n in 0..2000 {
            let messages = [16, 64, 200, 500][n % 4];
            model.observe_batch(messages, micros(500 + 40 * messages as u64));
        }
        let BatchCost { per_batch, per_message } = model.batch;
        assert!((per_batch - 500e-6).abs() < 100e-6 && (per_message - 40e-6).abs() < 3e-6, "{model:?}");
    }

    #[test]
    fn a_burst_of_acknowledgements_does_not_change_the_single_cost() {
        let mut model = CostModel::default();
        for n in 0..10_000 {
            model.observe_single(if n % 64 == 0 { micros(1280) } else { Duration::ZERO });
            assert!(!model.prefers_batch(64), "{n}: {model:?}");
        }
    }

    #[test]
    fn an_expensive_kind_of_publish_is_tried_again() {
        let some_seconds = Duration::from_secs(9)..Duration::from_secs(11);
        let (mut model, took) = (after_singles(1000, micros(145)), micros(2600));
        let batches = (0..100_000).find(|_| {
            model.observe_batch(64, took);
            !model.prefers_batch(64)
        });
        assert!(batches.is_some_and(|batches| some_seconds.contains(&(batches * took))), "{batches:?}");
        (0..800).for_each(|_| model.observe_single(micros(145)));
        assert!(model.prefers_batch(64));

        // Batches are tried again after half a second, and less and less often if they stay expensive.
        let took = micros(145);
        let mut seconds_until_batch = || {
            (0..8).for_each(|_| model.observe_batch(64, micros(40_000)));
            let singles = (0..1_000_000_u32).find(|_| {
                model.observe_single(took);
                model.prefers_batch(64)
            });
            singles.map(|singles| (2.0 * (singles * took).as_secs_f64()).round() / 2.0)
        };
        let pauses: Vec<_> = (0..7).filter_map(|_| seconds_until_batch()).collect();
        assert_eq!(format!("{pauses:?}"), "[0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]");
        // Batches that stay cheap for a second are tried again soon after a stall.
        (0..800).for_each(|_| model.observe_batch(64, micros(2600)));
        (0..8).for_each(|_| model.observe_batch(64, Duration::from_secs(1)));
        let singles = (0..10_000_u32).find(|_| {
            model.observe_single(took);
            model.prefers_batch(64)
        });
        assert!(singles.is_some_and(|singles| singles * took < Duration::from_millis(700)), "{singles:?}");
    }

    #[test]
    fn a_stall_does_not_change_the_estimated_cost() {
        let mut model = after_singles(1000, micros(20));
        model.observe_single(Duration::from_mins(1));
        model.observe_single(micros(20));
        assert!(!model.prefers_batch(64));
        for _ in 0..100 {
            model.observe_batch(64, micros(2600));
        }
        model.observe_batch(64, Duration::from_mins(1));
        (0..1000).for_each(|_| model.observe_single(micros(145)));
        assert!(model.prefers_batch(64));
    }
}
