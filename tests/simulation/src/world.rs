//! What everything in one simulation shares: the time, chance, the models, and what was found wrong.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::time::Instant;

use crate::{broker::Broker, calls::Calls, provider::Conversations};

/// When every simulation begins.
const BEGIN: i64 = 1_790_000_000;

/// How likely each thing is that can go wrong, from 0 to 1, each time that it could. Drawn once a seed, so
/// that some simulations know a fault and some do not.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The broker dies, within one second: connections break, acknowledgements of the last seconds are
    /// forgotten and come again as a first delivery, messages on their way are stored or not.
    pub broker_crash: f64,
    /// It stops for a while and then goes on with what has piled up.
    pub broker_freeze: f64,
    /// It refuses a message.
    pub refusal: f64,
    /// It does not answer, although it has stored.
    pub lost_answer: f64,
    /// What a worker settles does not arrive.
    pub lost_settlement: f64,
    /// A job or a dead letter is not stored, or is stored and not acknowledged.
    pub lost_publish: f64,
    /// The database does nothing and says so.
    pub failed_write: f64,
    /// It does all or a part, and says that it failed.
    pub landed_write: f64,
    /// It does it only after it has said that it failed.
    pub late_write: f64,
    /// One statement fails by a conflict.
    pub conflict: f64,
    /// An update goes on behind the place of a document that was just merged.
    pub moved: f64,
    /// The provider answers 429, 5xx, 401 or 404.
    pub provider: f64,
    /// A worker or a gateway is killed, within one second.
    pub killed: f64,
    /// A worker stops for longer than the broker waits, within one second.
    pub frozen: f64,
    /// A worker is told to stop, within one second.
    pub stopped: f64,
    /// The body of a large webhook cannot be read.
    pub body: f64,
}

impl Faults {
    fn draw(rng: &mut StdRng) -> Self {
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

/// The models.
#[derive(Debug)]
pub struct World {
    pub rng: StdRng,
    pub faults: Faults,
    pub broker: Broker,
    pub calls: Calls,
    pub conversations: Conversations,
    /// What is wrong. The first is what counts.
    pub violations: Vec<String>,
    /// What happened, where somebody wants to read it.
    diary: Option<Vec<String>>,
}

/// One simulation. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sim {
    world: Arc<Mutex<World>>,
    begin: Instant,
}

impl Sim {
    /// Within the runtime whose clock it goes by.
    pub fn new(seed: u64, keeps_diary: bool) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let faults = Faults::draw(&mut rng);
        let world = World {
            rng,
            faults,
            broker: Broker::default(),
            calls: Calls::default(),
            conversations: Conversations::default(),
            violations: Vec::new(),
            diary: keeps_diary.then(Vec::new),
        };
        Self { world: Arc::new(Mutex::new(world)), begin: Instant::now() }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        let begin = Timestamp::from_second(BEGIN).expect("within the calendar");
        begin.saturating_add(self.begin.elapsed()).unwrap_or(begin)
    }

    /// Whether it happens.
    pub fn happens(&self, likely: impl Fn(&Faults) -> f64) -> bool {
        let mut world = self.world();
        let likely = likely(&world.faults);
        likely > 0.0 && world.rng.random_bool(likely)
    }

    /// A number below `end`.
    pub fn below(&self, end: u64) -> u64 {
        self.world().rng.random_range(0..end)
    }

    /// Lets up to `most` pass.
    pub async fn pass(&self, most: Duration) {
        let millis = self.below(u64::try_from(most.as_millis()).unwrap_or(u64::MAX).max(1));
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// From now on nothing goes wrong any more.
    pub fn calm_down(&self) {
        self.world().faults = Faults::default();
    }

    /// Something must not have happened.
    pub fn violation(&self, what: impl fmt::Display) {
        self.note(|| format!("VIOLATION {what}"));
        self.world().violations.push(what.to_string());
    }

    /// Something happened.
    pub fn note(&self, what: impl FnOnce() -> String) {
        if self.world().diary.is_none() {
            return;
        }
        let line = format!("{:>9.3}  {}", self.begin.elapsed().as_secs_f64(), what());
        self.world().diary.get_or_insert_default().push(line);
    }

    /// Everything that happened.
    pub fn diary(&self) -> Vec<String> {
        self.world().diary.take().unwrap_or_default()
    }
}
