//! Singly or as a batch: learned from how long the broker takes. Pure.
//!
//! A single publish costs the broker little where it does not sync and one sync where it does; an atomic
//! batch costs a fixed time, for it is staged in a store of its own, and little for each message. Which is
//! cheaper depends on the sync setting, the disk, the replicas and the size of bodies, so none of it is
//! configured: the times of both are followed as they are measured.

use std::time::Duration;

/// A batch must promise to be cheaper by this factor: what it promises is less certain.
const MARGIN: f64 = 1.15;
/// Weight of one measured single message.
const SINGLE_WEIGHT: f64 = 1.0 / 64.0;
/// Weight of one measured batch.
const BATCH_WEIGHT: f64 = 1.0 / 8.0;
/// What is left, after a batch, of the belief in the price of single messages, which are not measured
/// meanwhile: after some hundred batches they are tried once more.
const FORGETTING: f64 = 0.997;
/// A stall of the broker says nothing of its pace.
const LONGEST_SINGLE: Duration = Duration::from_millis(5);
const LONGEST_BATCH: Duration = Duration::from_millis(50);

/// Seconds that the broker takes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// For one more single message, while it has others to do. None: not measured yet.
    single: Option<f64>,
    /// For any batch.
    batch: f64,
    /// For each message of a batch.
    each: f64,
}

impl Default for Pace {
    /// Nothing is known of single messages, and they are what is tried first. Of batches: nats-server
    /// 2.15.1 on two cores, 300-byte messages, whatever the sync setting.
    fn default() -> Self {
        Self { single: None, batch: 2e-3, each: 10e-6 }
    }
}

impl Pace {
    /// Whether `messages` had better go as one batch.
    pub fn prefers_batch(&self, messages: usize) -> bool {
        let messages = count(messages);
        self.single.is_some_and(|single| messages * single > MARGIN * (self.batch + messages * self.each))
    }

    /// The broker has stored one more single message, `took` after the one before, and had others to do.
    pub fn single(&mut self, took: Duration) {
        let took = took.min(LONGEST_SINGLE).as_secs_f64();
        let single = self.single.get_or_insert(took);
        *single += SINGLE_WEIGHT * (took - *single);
    }

    /// The broker has stored a batch of so many messages, `took` after its first was sent.
    pub fn batch(&mut self, messages: usize, took: Duration) {
        // The error is shared out between the fixed part and that of each message by how much either
        // contributes (normalised least mean squares), in units of a usual batch.
        const USUAL: f64 = 64.0;
        let size = count(messages) / USUAL;
        let took = took.min(LONGEST_BATCH).as_secs_f64();
        let error = took - (self.batch + size * USUAL * self.each);
        let step = BATCH_WEIGHT * error / (1.0 + size * size);
        self.batch = (self.batch + step).max(0.0);
        self.each = (self.each + step * size / USUAL).max(0.0);
        if let Some(single) = &mut self.single {
            *single *= FORGETTING;
        }
    }
}

fn count(messages: usize) -> f64 {
    u32::try_from(messages).unwrap_or(u32::MAX).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn a_broker_that_syncs_gets_batches_once_there_is_enough_for_one() {
        let mut pace = Pace::default();
        assert!(!pace.prefers_batch(1000), "nothing is known yet");
        for _ in 0..200 {
            pace.single(micros(145));
        }
        let least = (1..1000).find(|&messages| pace.prefers_batch(messages)).unwrap();
        assert!((15..25).contains(&least), "{least}");
    }

    #[test]
    fn a_broker_that_does_not_sync_gets_none() {
        let mut pace = Pace::default();
        for _ in 0..200 {
            pace.single(micros(10));
        }
        assert!(!pace.prefers_batch(1000));
    }

    #[test]
    fn the_price_of_a_batch_is_learned_in_both_its_parts() {
        let mut pace = Pace::default();
        for n in 0..2000 {
            let messages = [16, 64, 200, 500][n % 4];
            pace.batch(messages, micros(500 + 40 * messages as u64));
        }
        assert!((pace.batch - 500e-6).abs() < 100e-6 && (pace.each - 40e-6).abs() < 3e-6, "{pace:?}");
    }

    #[test]
    fn after_many_batches_single_messages_are_tried_again() {
        let mut pace = Pace::default();
        pace.single(micros(145));
        let batches = (0..10_000).find(|_| {
            pace.batch(64, micros(2600));
            !pace.prefers_batch(64)
        });
        assert!(batches.is_some_and(|batches| (100..1000).contains(&batches)), "{batches:?}");
        for _ in 0..64 {
            pace.single(micros(145));
        }
        assert!(pace.prefers_batch(64));
    }

    #[test]
    fn a_stall_is_no_pace() {
        let mut pace = Pace::default();
        for _ in 0..200 {
            pace.single(micros(10));
        }
        pace.single(Duration::from_mins(1));
        assert!(!pace.prefers_batch(16));
    }
}
