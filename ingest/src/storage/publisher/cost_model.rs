//! Singly or as a batch: learned from how long the broker takes. Pure.
//!
//! A single publish costs the broker little where it does not sync and one sync where it does; an atomic
//! batch costs a fixed time, for it is staged in a store of its own, and little for each message. Which is
//! cheaper depends on the sync setting, the disk, the replicas and the size of bodies, so none of it is
//! configured: the times of both are followed as they are measured.

use std::time::Duration;

/// A batch must promise to be cheaper by this factor: what it promises is less certain.
const MARGIN: f64 = 1.15;
/// Single messages over which their price is averaged, once there were as many. Answers come in bursts.
const WINDOW: f64 = 1024.0;
/// Single messages before which nothing is said of their price: the first ones find everything cold.
const FEW: f64 = 512.0;
/// Weight of one measured batch.
const BATCH_WEIGHT: f64 = 1.0 / 8.0;
/// What was not measured for so many seconds, while the other was, is not known any more.
const FORGOTTEN: f64 = 10.0;
/// What took more than so many times what was foreseen is taken for that: a stall says nothing of the pace.
const STALL: f64 = 4.0;

/// What the broker's time costs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    single: Single,
    batch: Batch,
    /// Seconds of single messages since the last batch, and of batches since the last single message.
    without_batch: f64,
    without_single: f64,
}

/// Of single messages, while there are others to do.
#[derive(Clone, Copy, Debug, Default)]
struct Single {
    messages: f64,
    seconds: f64,
    /// Those whose answers came last, together.
    burst: Burst,
}

#[derive(Clone, Copy, Debug, Default)]
struct Burst {
    messages: f64,
    seconds: f64,
}

/// Of batches, in seconds.
#[derive(Clone, Copy, Debug)]
struct Batch {
    /// For any.
    fixed: f64,
    /// For each message of one.
    each: f64,
}

impl Default for Batch {
    /// As nats-server 2.15.1 has it on two cores, 300-byte messages, whatever the sync setting.
    fn default() -> Self {
        Self { fixed: 2e-3, each: 10e-6 }
    }
}

impl Pace {
    /// Whether `messages` had better go as one batch. Where the price of single messages is not known, they
    /// go singly, and it will be.
    pub fn prefers_batch(&self, messages: usize) -> bool {
        let messages = count(messages);
        let batch = self.batch.fixed + messages * self.batch.each;
        self.single.price().is_some_and(|price| messages * price > MARGIN * batch)
    }

    /// The broker has stored one more single message, `took` after the one before, and had others to do.
    pub fn single(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        self.single.push(took);
        self.without_single = 0.0;
        self.without_batch += took;
        if self.without_batch > FORGOTTEN {
            (self.batch, self.without_batch) = (Batch::default(), 0.0);
        }
    }

    /// The broker has stored a batch of so many messages, `took` after the one before, or after its first
    /// was sent where nobody waited before that: what senders take to come again is part of either price.
    pub fn batch(&mut self, messages: usize, took: Duration) {
        // The error is shared out between the fixed part and that of each message by how much either
        // contributes (normalised least mean squares), in units of a usual batch.
        const USUAL: f64 = 64.0;
        let size = count(messages) / USUAL;
        let Batch { fixed, each } = self.batch;
        let foreseen = fixed + size * USUAL * each;
        let took = took.as_secs_f64().min(STALL * foreseen);
        let error = took - foreseen;
        let step = BATCH_WEIGHT * error / (1.0 + size * size);
        self.batch = Batch { fixed: (fixed + step).max(0.0), each: (each + step * size / USUAL).max(0.0) };
        self.without_batch = 0.0;
        self.without_single += took;
        if self.without_single > FORGOTTEN {
            (self.single, self.without_single) = (Single::default(), 0.0);
        }
    }
}

impl Single {
    /// Seconds for one, where it is known.
    fn price(&self) -> Option<f64> {
        (self.messages >= FEW).then(|| self.seconds / self.messages)
    }

    fn push(&mut self, took: f64) {
        if took > 0.0 {
            let Burst { messages, seconds } = std::mem::take(&mut self.burst);
            let most = self.price().map_or(f64::INFINITY, |price| STALL * price * messages);
            let kept = 1.0 - messages.min(WINDOW) / WINDOW;
            self.seconds = self.seconds * kept + seconds.min(most);
            self.messages = self.messages * kept + messages;
        }
        self.burst.messages += 1.0;
        self.burst.seconds += took;
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

    fn after(singles: usize, took: Duration) -> Pace {
        let mut pace = Pace::default();
        (0..singles).for_each(|_| pace.single(took));
        pace
    }

    #[test]
    fn a_broker_that_syncs_gets_batches_once_there_is_enough_for_one() {
        assert!(!Pace::default().prefers_batch(1000), "nothing is known yet");
        let pace = after(1000, micros(145));
        let least = (1..1000).find(|&messages| pace.prefers_batch(messages)).unwrap();
        assert!((15..25).contains(&least), "{least}");
    }

    #[test]
    fn a_broker_that_does_not_sync_gets_none() {
        assert!(!after(1000, micros(10)).prefers_batch(1000));
    }

    #[test]
    fn the_price_of_a_batch_is_learned_in_both_its_parts() {
        let mut pace = Pace::default();
        for n in 0..2000 {
            let messages = [16, 64, 200, 500][n % 4];
            pace.batch(messages, micros(500 + 40 * messages as u64));
        }
        let Batch { fixed, each } = pace.batch;
        assert!((fixed - 500e-6).abs() < 100e-6 && (each - 40e-6).abs() < 3e-6, "{pace:?}");
    }

    #[test]
    fn answers_that_come_in_bursts_are_no_price_by_themselves() {
        let mut pace = Pace::default();
        for n in 0..10_000 {
            pace.single(if n % 64 == 0 { micros(1280) } else { Duration::ZERO });
            assert!(!pace.prefers_batch(64), "{n}: {pace:?}");
        }
    }

    #[test]
    fn what_was_dear_is_tried_again_after_some_seconds() {
        let some_seconds = Duration::from_secs(9)..Duration::from_secs(11);
        let (mut pace, took) = (after(1000, micros(145)), micros(2600));
        let batches = (0..100_000).find(|_| {
            pace.batch(64, took);
            !pace.prefers_batch(64)
        });
        assert!(batches.is_some_and(|batches| some_seconds.contains(&(batches * took))), "{batches:?}");
        (0..800).for_each(|_| pace.single(micros(145)));
        assert!(pace.prefers_batch(64));

        (0..8).for_each(|_| pace.batch(64, Duration::from_secs(1)));
        let took = micros(145);
        let singles = (0..1_000_000).find(|_| {
            pace.single(took);
            pace.prefers_batch(64)
        });
        assert!(singles.is_some_and(|singles| some_seconds.contains(&(singles * took))), "{singles:?}");
    }

    #[test]
    fn a_stall_is_no_pace() {
        let mut pace = after(1000, micros(20));
        pace.single(Duration::from_mins(1));
        pace.single(micros(20));
        assert!(!pace.prefers_batch(64));
        for _ in 0..100 {
            pace.batch(64, micros(2600));
        }
        pace.batch(64, Duration::from_mins(1));
        (0..1000).for_each(|_| pace.single(micros(145)));
        assert!(pace.prefers_batch(64));
    }
}
