//! Probabilities of the faults.

use rand::{RngExt as _, rngs::StdRng};

/// The probability of each fault, from 0 to 1: at each opportunity, or in each second where the field says so.
///
/// A seed draws the probabilities once. Each is 0 with a probability of one half, so that a simulation has some faults
/// and not others.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The broker crashes, in each second with a third of this probability. Connections break. It forgets the
    /// acknowledgements of the last seconds, and delivers these messages as if for the first time. Messages that are
    /// being published are stored or lost.
    pub broker_crash: f64,
    /// The broker freezes, in each second with a third of this probability. Then it handles what arrived meanwhile.
    pub broker_freeze: f64,
    /// The broker refuses a message.
    pub refusal: f64,
    /// The broker stores a message and does not answer.
    pub lost_answer: f64,
    /// The acknowledgement of a worker does not arrive.
    pub lost_settlement: f64,
    /// A job, a schedule or a dead letter is not stored, or is stored without an acknowledgement.
    pub lost_publish: f64,
    /// The database does nothing and reports a failure. Or it reports one, has the write for a while, and rolls it back.
    /// With the same probability a worker reads what will be rolled back.
    pub failed_write: f64,
    /// The database does a write and reports a failure. With half of this probability, it does a part of it.
    pub landed_write: f64,
    /// The database reports a failure and does the write later.
    pub late_write: f64,
    /// One statement fails with a write conflict, with a tenth of this probability.
    pub conflict: f64,
    /// An update misses a document that was merged at the same time.
    pub moved: f64,
    /// The provider answers 429, 5xx, 401 or 404.
    pub provider: f64,
    /// A worker is killed, in each second. A gateway is, with a third of this probability.
    pub killed: f64,
    /// A worker freezes, in each second: in most cases for longer than the broker waits for an acknowledgement.
    pub frozen: f64,
    /// A worker is told to stop, in each second.
    pub stopped: f64,
    /// The body of a large webhook cannot be read.
    pub body: f64,
}

impl Faults {
    /// Draws the probability of each fault.
    pub fn draw(rng: &mut StdRng) -> Self {
        let mut draw = |most: f64| if rng.random_bool(0.5) { rng.random_range(0.0..most) } else { 0.0 };
        Self {
            broker_crash: draw(0.2),
            broker_freeze: draw(0.2),
            refusal: draw(0.1),
            lost_answer: draw(0.2),
            lost_settlement: draw(0.3),
            lost_publish: draw(0.3),
            failed_write: draw(0.3),
            landed_write: draw(0.3),
            late_write: draw(0.2),
            conflict: draw(0.2),
            moved: draw(0.3),
            provider: draw(0.6),
            killed: draw(0.3),
            frozen: draw(0.1),
            stopped: draw(0.2),
            body: draw(0.5),
        }
    }
}
