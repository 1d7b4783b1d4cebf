//! The state that all parts of one simulation share: the clock, random numbers, the models, and the violations found.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aftercall_worker::elevenlabs::ConversationStatus;
use jiff::Timestamp;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::{broker::Broker, documents::Documents, faults::Faults};

/// The time at which every simulation starts, in seconds since 1970.
const START: i64 = 1_790_000_000;

/// The state of the models, the random numbers, and the results.
#[derive(Debug)]
pub struct World {
    pub rng: StdRng,
    pub faults: Faults,
    pub broker: Broker,
    pub documents: Documents,
    /// The documents of a primary that was replaced.
    pub rolled_back: Option<Documents>,
    /// Conversations at the provider: when each one is finished, and its final status.
    pub conversations: BTreeMap<String, (Timestamp, ConversationStatus)>,
    /// Violations, in the order in which they were found.
    pub violations: Vec<String>,
    /// Events with their times; `None` if no log is kept.
    log: Option<Vec<String>>,
}

/// One simulation. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Simulation {
    world: Arc<Mutex<World>>,
    began_at: Instant,
}

impl Simulation {
    /// Begins a simulation. Its clock is the clock of the current runtime.
    pub fn new(seed: u64, keeps_log: bool) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let faults = Faults::draw(&mut rng);
        let world = World {
            rng,
            faults,
            broker: Broker::default(),
            documents: Documents::default(),
            rolled_back: None,
            conversations: BTreeMap::new(),
            violations: Vec::new(),
            log: keeps_log.then(Vec::new),
        };
        Self { world: Arc::new(Mutex::new(world)), began_at: Instant::now() }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The simulated time.
    pub fn now(&self) -> Timestamp {
        let begin = Timestamp::from_second(START).expect("within the calendar");
        begin.saturating_add(self.began_at.elapsed()).unwrap_or(begin)
    }

    /// Draws whether an event with this probability occurs.
    pub fn happens(&self, probability: impl Fn(&Faults) -> f64) -> bool {
        let mut world = self.world();
        let probability = probability(&world.faults);
        probability > 0.0 && world.rng.random_bool(probability)
    }

    /// Draws a number below `end`, which is not 0.
    pub fn below(&self, end: u64) -> u64 {
        self.world().rng.random_range(0..end)
    }

    /// Waits for a random number of whole milliseconds, less than `most`.
    pub async fn pass(&self, most: Duration) {
        let millis = self.below(u64::try_from(most.as_millis()).unwrap_or(u64::MAX).max(1));
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// Sets the probability of every fault to 0.
    pub fn end_faults(&self) {
        self.world().faults = Faults::default();
    }

    /// Records a violation.
    pub fn violation(&self, what: impl fmt::Display) {
        self.note(|| format!("VIOLATION {what}"));
        self.world().violations.push(what.to_string());
    }

    /// Adds a line to the log, if a log is kept.
    pub fn note(&self, what: impl FnOnce() -> String) {
        if self.world().log.is_none() {
            return;
        }
        let line = format!("{:>9.3}  {}", self.began_at.elapsed().as_secs_f64(), what());
        self.world().log.get_or_insert_default().push(line);
    }

    /// Takes all lines of the log.
    pub fn take_log(&self) -> Vec<String> {
        self.world().log.take().unwrap_or_default()
    }
}

/// Starts a task that goes on if the process that started it is killed, such as a message in transit.
pub fn spawn_detached(task: impl Future<Output = ()> + Send + 'static) {
    drop(TaskTracker::new().spawn(task));
}
