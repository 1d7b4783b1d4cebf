//! A worker process, which can freeze.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::world::Simulation;

/// One worker process.
#[derive(Debug)]
pub struct Process {
    pub sim: Simulation,
    pub name: String,
    /// The process does nothing before this time.
    frozen_until: Mutex<Timestamp>,
}

impl Process {
    pub fn new(sim: Simulation, name: String) -> Arc<Self> {
        Arc::new(Self { sim, name, frozen_until: Mutex::new(Timestamp::UNIX_EPOCH) })
    }

    /// Stops the process for this time.
    pub fn freeze(&self, time: Duration) {
        let until = self.sim.now().saturating_add(time).unwrap_or(Timestamp::MAX);
        *self.frozen_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// Waits for an action outside the process, which takes at most `most`. A frozen process does not begin
    /// one.
    pub async fn act(&self, most: Duration) {
        self.sim.pass(most).await;
        loop {
            let until = *self.frozen_until.lock().unwrap_or_else(PoisonError::into_inner);
            let Ok(left) = Duration::try_from(until.duration_since(self.sim.now())) else { return };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}
