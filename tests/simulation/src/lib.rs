//! Deterministic simulation: the cores of gateway and worker, their own code, before a model of broker,
//! database, provider, clock and chance. One thread, a clock that is moved on, everything decided by a seed.
//!
//! The models have the quirks that were measured of the real ones: publishes that are stored after they were
//! given up, acknowledgements that are forgotten and come again as a first delivery, late and lost
//! settlements, refused batches, writes that land though they failed, or land later, unique indexes that
//! collide. Senders post duplicates, in any order, and give up. Processes are killed at any await.
//!
//! A seed that fails is printed, and fails again: `cargo run --package aftercall-simulation -- --seed N`.

mod broker;
mod calls;
mod check;
mod command;
mod gateway;
mod provider;
mod source;
mod story;
mod worker;
mod world;

use std::{fmt, time::Duration};

use jiff::Timestamp;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::command::command;
use self::world::Sim;

/// How long things go wrong.
const TROUBLE: Duration = Duration::from_secs(40);
/// How long everything may then take to settle: transcripts are waited for.
const SETTLE: Duration = Duration::from_hours(2);
const WORKERS: usize = 2;

/// What came of one seed.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Webhooks posted.
    pub posted: usize,
    /// Of those, answered 200.
    pub accepted: usize,
    /// Messages stored.
    pub stored: usize,
    /// What must not be.
    pub violations: Vec<String>,
    /// What happened, where it was wanted.
    pub diary: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.diary.iter().chain(&self.violations) {
            writeln!(f, "{line}")?;
        }
        write!(f, "{} posted, {} answered 200, {} stored", self.posted, self.accepted, self.stored)
    }
}

/// Simulates `seed`.
pub fn simulate(seed: u64, keeps_diary: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without sockets starts").block_on(run(seed, keeps_diary))
}

/// Runs by itself, whatever becomes of whoever began it.
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(TaskTracker::new().spawn(task));
}

async fn run(seed: u64, keeps_diary: bool) -> Outcome {
    let sim = Sim::new(seed, keeps_diary);
    let story = story::story(&mut sim.world().rng, TROUBLE);
    sim.note(|| format!("{:?}", sim.world().faults.clone()));
    for (id, done, outcome) in story.conversations {
        let at = sim.now().saturating_add(done).unwrap_or(Timestamp::MAX);
        sim.world().conversations.0.insert(id, (at, outcome));
    }
    let end = CancellationToken::new();
    let (door, gateway) = watch::channel(None);
    let mut processes = JoinSet::new();
    processes.spawn(gateway::keep(sim.clone(), door, end.clone()));
    for n in 0..WORKERS {
        processes.spawn(worker::keep(sim.clone(), format!("worker {n}"), end.clone()));
    }
    processes.spawn(trouble(sim.clone()));
    let mut posts = JoinSet::new();
    let posted = story.posts.len();
    for (at, body) in story.posts {
        let (sim, gateway) = (sim.clone(), gateway.clone());
        posts.spawn(async move {
            tokio::time::sleep(at).await;
            gateway::post(&sim, &gateway, body).await
        });
    }
    tokio::time::sleep(TROUBLE).await;
    sim.note(|| "calm".to_owned());
    sim.calm_down();
    let mut accepted = 0;
    while let Some(post) = posts.join_next().await {
        accepted += usize::from(post.expect("no sender panics"));
    }
    settle(&sim).await;
    end.cancel();
    processes.abort_all();
    let wrong = check::check(&sim.world());
    for what in wrong {
        sim.violation(what);
    }
    let diary = sim.diary();
    let world = sim.world();
    let (stored, violations) = (world.broker.webhooks.len(), world.violations.clone());
    Outcome { posted, accepted, stored, violations, diary }
}

/// The broker dies and hangs.
async fn trouble(sim: Sim) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = sim.now();
        if sim.happens(|faults| faults.broker_crash / 3.0) {
            sim.note(|| "the broker dies".to_owned());
            let away = Duration::from_millis(sim.below(3000));
            let mut world = sim.world();
            let world = &mut *world;
            let rng = &mut world.rng;
            world.broker.crash(now, away, || rand::RngExt::random_bool(rng, 0.5));
        }
        if sim.happens(|faults| faults.broker_freeze / 3.0) {
            sim.note(|| "the broker hangs".to_owned());
            let time = Duration::from_millis(sim.below(8000));
            sim.world().broker.frozen_until = now.checked_add(time).ok();
        }
    }
}

/// Waits until nothing is to be done any more.
async fn settle(sim: &Sim) {
    let deadline = sim.now().saturating_add(SETTLE).unwrap_or(Timestamp::MAX);
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let open = {
            let world = sim.world();
            let (status, transcripts) = (&world.broker.status, &world.broker.transcripts);
            let open =
                |deliveries: &[broker::Delivery]| deliveries.iter().filter(|one| !one.is_settled()).count();
            (open(status), open(transcripts), world.broker.later.len())
        };
        if open == (0, 0, 0) {
            // What the database said it had not done may be done yet.
            tokio::time::sleep(Duration::from_secs(30)).await;
            return;
        }
        if sim.now() > deadline {
            let (webhooks, jobs, later) = open;
            return sim
                .violation(format!("{webhooks} webhooks, {jobs} jobs and {later} schedules never settle"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many as a minute or so has room for. `cargo run --release --package aftercall-simulation` goes on.
    const SEEDS: u64 = 10_000;

    #[test]
    fn no_seed_loses_a_webhook_or_leaves_a_document_wrong() {
        let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let run = |first| {
            for seed in (first..SEEDS).step_by(usize::try_from(threads).unwrap()) {
                let outcome = simulate(seed, false);
                assert!(outcome.violations.is_empty(), "seed {seed}: {}", outcome.violations[0]);
            }
        };
        std::thread::scope(|scope| {
            for first in 0..threads {
                scope.spawn(move || run(first));
            }
        });
    }

    #[test]
    fn a_seed_does_the_same_every_time() {
        for seed in 0..20 {
            assert_eq!(simulate(seed, true).diary, simulate(seed, true).diary, "seed {seed}");
        }
    }

    #[test]
    fn there_is_something_to_lose() {
        let all: Vec<_> = (0..100).map(|seed| simulate(seed, false)).collect();
        let sum = |of: fn(&Outcome) -> usize| all.iter().map(of).sum::<usize>();
        let (posted, accepted, stored) =
            (sum(|one| one.posted), sum(|one| one.accepted), sum(|one| one.stored));
        assert!(posted > 2000 && accepted > posted * 9 / 10 && accepted < posted, "{accepted} of {posted}");
        assert!(stored > 1000, "{stored}");
    }
}
